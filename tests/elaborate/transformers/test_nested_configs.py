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


def test_a_part_that_nobody_has_a_class_for_is_a_dict_of_what_the_file_has(made: Any) -> None:
    # Code of a repository leaves it a dict, which a dataclass of the source is made of by `**`.
    before = """
from dataclasses import dataclass

@dataclass
class AudioConfig:
    dim: int = 3
    depth: int = 4
"""
    body = """
audio = config.audio_config
if hasattr(audio, "to_dict"):
    audio = audio.to_dict()
made = AudioConfig(**audio)
config.audio_config.depth = 6
self.x = (made.dim, made.depth, sorted(config.audio_config.to_dict()))
"""
    config = {"model_type": "unheard-of", "audio_config": {"dim": 5}}
    assert made.attributes(body, before, config=config)["x"] == (5, 4, ["depth", "dim"])
