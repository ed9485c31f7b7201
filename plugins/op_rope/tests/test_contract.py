"""The contract that every plugin has to hold, on both styles, whole and partial heads."""

from __future__ import annotations

import fibcore_op_rope
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, operation, tree

TURN = "sglang.srt.layers.rotary_embedding.utils.apply_rotary_pos_emb_native"


def layer(path: str, head_size: int, rotary_dim: int, *, neox: bool) -> ModuleNode:
    arguments = {
        "head_size": head_size,
        "rotary_dim": rotary_dim,
        "max_position_embeddings": 64,
        "base": 10000,
        "is_neox_style": neox,
    }
    cls = "sglang.srt.layers.rotary_embedding.RotaryEmbedding"
    return module(path, cls, arguments, calls=[call(TENSOR, TENSOR, TENSOR)])


def several(path: str, sections: list[int], *, interleaved: bool) -> ModuleNode:
    """A layer of several positions a token."""
    made = layer(path, 16, 16, neox=True)
    cls = "sglang.srt.layers.rotary_embedding.mrope.MRotaryEmbedding"
    more = {"mrope_section": sections, "mrope_interleaved": interleaved}
    return module(path, cls, {**made.arguments, **more}, calls=[call(TENSOR, TENSOR, TENSOR)])


class TestContract(PluginContract):
    plugin = fibcore_op_rope
    trees = (
        (
            tree(
                layer("neox", 16, 16, neox=True),
                layer("partial", 24, 16, neox=True),
                layer("gptj", 16, 16, neox=False),
                layer("partial_gptj", 24, 16, neox=False),
                several("sections", [4, 2, 2], interleaved=False),
                several("turns", [4, 2, 2], interleaved=True),
            ),
            Serving(tp=2),
        ),
        (
            tree(
                module("attn", "sglang.srt.models.m.Gemma3Attention", attributes={"head_dim": 16}),
                module(
                    "rotary",
                    "sglang.srt.models.gemma3_causal.Gemma3RotaryEmbedding",
                    calls=[call(TENSOR, TENSOR)],
                ),
                kernel_calls=[operation(TURN, *(TENSOR,) * 4, module="attn")],
            ),
            Serving(),
        ),
    )
