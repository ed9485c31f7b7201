"""RoPE settings of files of either generation of transformers."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_rope_settings_in_either_form(made: Any, version: str) -> None:
    old = {"rope_theta": 5e5, "rope_scaling": None}
    new = {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    body = (
        "p = getattr(config, 'rope_parameters', None)\n"
        "self.x = p['rope_theta'] if p else config.rope_theta"
    )
    for config in (old, new):
        assert made.attributes(body, config=config, version=version)["x"] == 5e5
        assert made.attributes("self.x = config.rope_theta", config=config)["x"] == 5e5


@pytest.mark.parametrize("own", [True, False])
def test_rope_of_a_file_for_a_class_of_its_repository(made: Any, own: bool) -> None:
    # transformers' class keeps settings for each kind of layer; the repository's has one of all.
    file = {"model_type": "mimo_v2_flash", "rope_theta": 5e6, "num_hidden_layers": 2}
    if own:
        file["auto_map"] = {"AutoConfig": "configuration_mimo_v2_flash.MiMoV2FlashConfig"}
    found = made.attributes("self.x = config.rope_scaling", config=file, version="0.5.23")["x"]
    assert (found.get("rope_theta"), "sliding_attention" in found) == (
        (5e6, False) if own else (None, True)
    )


@pytest.mark.parametrize(
    ("version", "own"), [("4.40.1", True), ("4.57.1", True), ("5.19.0", False), (None, False)]
)
def test_rope_of_a_file_that_is_older_than_the_class(made: Any, version: Any, own: bool) -> None:
    # transformers 4.57.1 has no class for this model type: the file is for its repository's.
    file = {"model_type": "mimo_v2_flash", "rope_theta": 5e6, "num_hidden_layers": 2}
    file |= {} if version is None else {"transformers_version": version}
    found = made.attributes("self.x = config.rope_scaling", config=file, version="0.5.23")["x"]
    assert ("sliding_attention" in found) == (not own)


def test_the_base_frequency_of_a_class_that_is_not_read_is_unknown(made: Any) -> None:
    # The class of the repository has a default for it; its settings lack none of the file's.
    file = {
        "rope_scaling": {"type": "longrope", "long_factor": [1.0]},
        "auto_map": {"AutoConfig": "configuration_made.MadeConfig"},
    }
    body = "self.x = config.rope_parameters"
    found = made.attributes(body, config=file, version="0.5.23")["x"]
    assert isinstance(found["rope_theta"], Unknown)
    assert (found["rope_type"], found["long_factor"]) == ("longrope", [1.0])
