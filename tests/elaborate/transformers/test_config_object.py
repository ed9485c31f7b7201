"""The config object: attributes with origins, and what every config can do."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.errors import (
    ConfigError,
)
from fibcore.model.tree import origins_of


def test_keys_of_the_file_with_their_origin(made: Any) -> None:
    found = made.attributes("self.x = config.hidden_size")["x"]
    assert found == 64
    assert origins_of(found) == {"config:hidden_size"}


def test_nested_keys_have_dotted_origins(made: Any) -> None:
    config = {"rope_scaling": {"factor": 4.0}, "text_config": {"depth": 7}, "sizes": [3, 5]}
    body = (
        "self.x = (config.rope_scaling['factor'], config.text_config.depth, config.sizes[1],"
        " config.text_config.get('depth'), config.text_config.to_dict()['depth'])"
    )
    found = made.attributes(body, config=config)["x"]
    assert found == (4.0, 7, 5, 7, 7)
    assert [origins_of(v) for v in found] == [
        {"config:rope_scaling.factor"},
        {"config:text_config.depth"},
        {"config:sizes"},
        {"config:text_config.depth"},
        {"config:text_config.depth"},
    ]


def test_a_missing_key_and_a_default_are_different_things(made: Any) -> None:
    body = "self.x = (getattr(config, 'heads', 9), hasattr(config, 'heads'))"
    assert made.attributes(body)["x"] == (9, False)
    with pytest.raises(ConfigError) as caught:
        made.attributes("self.y = 1\nself.x = config.heads")
    assert "'heads'" in (caught.value.expected or "")
    assert caught.value.where == "sglang/srt/models/made.py:8"
    assert "config" in (caught.value.hint or "")


def test_a_key_that_is_null_is_there(made: Any) -> None:
    body = "self.x = (getattr(config, 'window', 9), hasattr(config, 'window'))"
    assert made.attributes(body, config={"window": None})["x"] == (None, True)


def test_get_text_config(made: Any) -> None:
    assert made.attributes("self.x = config.get_text_config().hidden_size")["x"] == 64
    config = {"text_config": {"hidden_size": 5}}
    assert made.attributes("self.x = config.get_text_config().hidden_size", config=config)["x"] == 5


def test_keys_of_the_text_model_serve_the_whole(made: Any) -> None:
    config = {"text_config": {"depth": 5}}
    assert made.attributes("self.x = config.depth", config=config)["x"] == 5


def test_changes_to_the_config_stay(made: Any) -> None:
    body = "config.width = 3\nconfig.update({'height': 4})\nself.x = (config.width, config.height)"
    assert made.attributes(body)["x"] == (3, 4)
