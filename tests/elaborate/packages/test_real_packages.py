"""Towers of the real transformers and timm, as each SGLang release requires them.

The sizes are those that the files of google/gemma-3n-E2B-it and of timm's weights of its encoder
have: MobileNetV5 of 300 M parameters.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest

from fibcore.configs.model_config import ModelConfig
from fibcore.elaborate import elaborate
from fibcore.errors import FibcoreError
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, ModuleNode
from fibcore.sources.packages import find_packages
from fibcore.sources.tree import tree_at

GEMMA = {
    "architectures": ["Gemma3nForConditionalGeneration"],
    "model_type": "gemma3n",
    "text_config": {"model_type": "gemma3n_text", "num_hidden_layers": 20},
    "audio_config": {"model_type": "gemma3n_audio"},
    "vision_config": {"model_type": "gemma3n_vision", "architecture": "mobilenetv5_300m_enc"},
}
AUDIO = {
    "model_type": "parakeet",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "subsampling_factor": 8,
    "num_mel_bins": 128,
}
PARAKEET = """
from torch import nn
from transformers import ParakeetEncoder, ParakeetEncoderConfig

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.encoder = ParakeetEncoder(ParakeetEncoderConfig(**config.audio))

    def forward(self, x):
        return self.encoder(x).last_hidden_state

EntryClass = Model
"""


def with_packages(folder: Path, *names: str) -> Any:
    """A source with the releases of packages that it requires; skips where they cannot be had."""
    source = tree_at(folder / "sglang", "sglang", "test")
    try:
        packages = find_packages(names, source, folder)
    except FibcoreError as error:
        pytest.skip(f"no source of {' and '.join(names)}: {error}")
    return source, packages


@pytest.fixture(scope="module")
def gemma(sglang_source: Path) -> ModelTree:
    """Gemma 3n with its vision tower."""
    source, packages = with_packages(sglang_source, "transformers", "timm")
    source = attrs.evolve(source, packages=packages)
    return elaborate(source, ModelConfig("gemma", None, GEMMA, "given"), Serving())


def sizes(node: ModuleNode) -> tuple[Any, ...]:
    """Channels and window of a convolution."""
    return tuple(node.argument(n) for n in ("in_channels", "out_channels", "kernel_size"))


def test_the_tower_of_gemma_3n_is_whole(gemma: ModelTree) -> None:
    assert gemma.missing == ()
    nodes = {n.path: n for n in gemma.walk()}
    tower = "vision_tower.timm_model"
    assert nodes[tower].cls == "timm.models.mobilenetv5.MobileNetV5Encoder"
    blocks = [n for p, n in nodes.items() if p.startswith(f"{tower}.blocks.") and p.count(".") == 4]
    assert Counter(n.class_name for n in blocks) == {
        "EdgeResidual": 3,
        "UniversalInvertedResidual": 5 + 8 + 1 + 14 + 1 + 19,
        "MobileAttention": 14 + 19,
    }
    # The last two scales side by side, 640 and 1280 channels, go to the language model's 2048.
    assert sizes(nodes[f"{tower}.msfa.ffn.pw_exp.conv"]) == (640 + 1280, 2 * (640 + 1280), 1)
    assert sizes(nodes[f"{tower}.msfa.ffn.pw_proj.conv"]) == (2 * (640 + 1280), 2048, 1)
    # 16 heads of 96 query one key and value.
    attention = f"{tower}.blocks.3.1.attn"
    assert sizes(nodes[f"{attention}.query.proj"]) == (1280, 16 * 96, 1)
    assert sizes(nodes[f"{attention}.key.proj"]) == (1280, 96, 1)
    calls = [c for c in gemma.kernel_calls if c.module.startswith(f"{tower}.blocks")]
    assert {c.function for c in calls} == {"torch.nn.functional.scaled_dot_product_attention"}
    assert len(calls) == 14 + 19
    assert str(nodes[attention].place).startswith("timm/models/_efficientnet_blocks.py:")
    assert not any("of which they may differ" in w for w in gemma.warnings)


def test_parakeet_is_whole(sglang_source: Path, made: Any) -> None:
    _, packages = with_packages(sglang_source, "transformers")
    version = sglang_source.name.partition("-")[2]
    found = made.tree(PARAKEET, config={"audio": AUDIO}, packages=packages, version=version)
    assert found.missing == ()
    nodes = {n.path: n for n in found.walk()}
    assert len([n for n in nodes.values() if n.class_name == "ParakeetEncoderBlock"]) == 3
    # Three convolutions of stride 2 leave 128 / 8 bins of 256 channels each.
    assert nodes["encoder.subsampling.linear"].argument("in_features") == 256 * 16
    assert nodes["encoder.layers.2.feed_forward1.linear1"].argument("out_features") == 96
    assert [c.function for c in found.kernel_calls if c.module == "encoder.layers.1.self_attn"] == [
        "torch.nn.functional.scaled_dot_product_attention"
    ]
