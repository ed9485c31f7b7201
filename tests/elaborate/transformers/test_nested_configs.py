"""Configs inside of configs whose class is not known."""

from __future__ import annotations

from typing import Any

from fibcore.model.tree import origins_of


def test_parts_that_a_repositorys_class_makes_objects_of(made: Any) -> None:
    parts = [{"ffn": {"mult": 2.5}}, {"ffn": {"mult": None}}]
    body = "self.x = [(b.ffn.mult, b['ffn'].get('mult')) for b in config.block_configs]"
    found = made.attributes(body, config={"model_type": "unheard-of", "block_configs": parts})["x"]
    assert found == [(2.5, 2.5), (None, None)]
    assert origins_of(found[0][0]) == {"config:block_configs.ffn.mult"}


def test_a_vision_config_that_names_the_type_of_a_whole_model(made: Any) -> None:
    # Files of MiniCPM-V call the vision tower of Siglip by the model type of all of it.
    found = made.attributes(
        "self.x = (config.vision_config.num_channels, config.vision_config.hidden_size)",
        config={
            "model_type": "unheard-of",
            "vision_config": {"model_type": "siglip", "hidden_size": 1152},
        },
    )["x"]
    assert found == (3, 1152)
