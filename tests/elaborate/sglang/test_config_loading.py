"""What SGLang's loader changes in a config after its class has made it."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.sglang.config_loading import finish
from fibcore.elaborate.transformers.config_object import ConfigObject


class NoReads:
    def note(self, *_: Any) -> None:
        pass


def config(name: str, values: dict[str, Any]) -> ConfigObject:
    made = ConfigObject(
        name,
        cls=None,
        classes=[],
        renamed={},
        missing=lambda *_: None,
        class_name="Config",
        release="",
        reads=NoReads(),
    )
    made.values.update(values)
    return made


WINDOW = {"head_dim": 256, "num_key_value_heads": 8}


@pytest.mark.parametrize(
    ("keys", "full"),
    [
        ({"global_head_dim": 512, "num_global_key_value_heads": 2}, (512, 2)),
        ({"global_head_dim": 512, "num_global_key_value_heads": None}, (512, 8)),
        ({"per_layer_config": {5: {"head_dim": 512, "num_key_value_heads": 2}}}, (512, 2)),
        ({"per_layer_config": {5: {"head_dim": 512}}}, (512, 8)),
        ({}, (256, 8)),
    ],
)
def test_heads_of_full_attention_are_the_models_own(
    keys: dict[str, Any], full: tuple[int, int]
) -> None:
    text = config("config.text_config", {**WINDOW, **keys})
    whole = config("config", {"model_type": "gemma4", "text_config": text})
    finish(whole, registered=False, modern=True)
    assert (text.values["head_dim"], text.values["num_key_value_heads"]) == full
    assert (text.values["swa_head_dim"], text.values["swa_num_key_value_heads"]) == (256, 8)
