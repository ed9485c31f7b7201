"""A model with a tower of another package says which file would be whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.catalogue import ResolvedModel
from fibcore.configs.model_config import ModelConfig
from fibcore.extraction.alone import readable, whole_without
from fibcore.model.serving import Serving
from fibcore.sources.tree import Package, SourceTree

SOURCE = """
from torch import nn
from transformers import CLIPVisionModel
from sglang.srt.layers.layernorm import RMSNorm

class ModelForCausalLM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm = RMSNorm(config.hidden_size)

    def forward(self, x):
        return self.norm(x)

class ModelForConditionalGeneration(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.language_model = ModelForCausalLM(config.text_config)
        if {condition}:
            self.tower = CLIPVisionModel(config.vision_config)

    def get_image_feature(self, x):
        return self.tower(x)

    def forward(self, x):
        return self.language_model(x)

EntryClass = [ModelForConditionalGeneration, ModelForCausalLM]
"""
FILE = {
    "architectures": ["ModelForConditionalGeneration"],
    "model_type": "made",
    "text_config": {"hidden_size": 64},
    "vision_config": {"hidden_size": 32},
}
LANGUAGE = '"text_config" alone, with "architectures": ["ModelForCausalLM"]'


@pytest.mark.parametrize(
    ("condition", "more", "words"),
    [
        ("getattr(config, 'vision_config', None) is not None", {}, 'without its "vision_config"'),
        ("True", {}, LANGUAGE),
        # Names of layers that are quantised are those of the whole model.
        (
            "True",
            {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}},
            None,
        ),
        ("False", {}, None),
    ],
)
def test_which_file_would_be_whole(
    made: Any, condition: str, more: dict[str, Any], words: str | None
) -> None:
    data = {**FILE, **more}
    tree = made.tree(SOURCE.format(condition=condition), config=data)
    source = SourceTree(made.root, "0.5.9", None, "made up")
    config = ModelConfig("made", None, data, "given")
    model = ResolvedModel("made", config, (1,), (1,), None)
    found = whole_without(source, model, Serving(), tree)
    assert found is None if words is None else words in str(found)
    assert bool(tree.missing) is (condition != "False")


@pytest.mark.parametrize(("at_hand", "said"), [((), True), (("transformers",), False)])
def test_the_package_whose_source_would_do_is_named(
    made: Any, tmp_path: Path, at_hand: tuple[str, ...], said: bool
) -> None:
    tree = made.tree(SOURCE.format(condition="True"), config=FILE)
    other = SourceTree(tmp_path, None, None, "made up")
    packages = tuple(Package(name, other) for name in at_hand)
    found = readable(SourceTree(made.root, "0.5.9", None, "made up", packages), tree)
    assert found is None if not said else "--package transformers" in str(found)
    whole = made.tree(SOURCE.format(condition="False"), config=FILE)
    assert readable(other, whole) is None
