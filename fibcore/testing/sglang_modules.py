"""Modules of SGLang in hand-written trees, with the arguments that its constructors have."""

from __future__ import annotations

from typing import Any

from fibcore.model.tree import ModuleNode
from fibcore.testing.trees import module

_ATTENTION = {
    "layer_id": 0,
    "logit_cap": 0.0,
    "v_head_dim": -1,
    "sliding_window_size": -1,
    "is_cross_attention": False,
    "pos_encoding_mode": "NONE",
    "logit_capping_method": "tanh",
    "quant_config": None,
    "attn_type": "decoder",
    "use_irope": False,
}
"""Defaults of RadixAttention's constructor, the same in SGLang 0.5.9 and 0.5.23."""


def radix_attention(path: str, **arguments: Any) -> ModuleNode:
    """A RadixAttention; `attributes` and `calls` among the arguments are those of the node."""
    attributes, calls = arguments.pop("attributes", {}), arguments.pop("calls", ())
    return module(
        path,
        "sglang.srt.layers.radix_attention.RadixAttention",
        {**_ATTENTION, "prefix": path, **arguments},
        attributes=attributes,
        calls=calls,
    )


def linear(path: str, kind: str, inputs: int, outputs: int, **changes: Any) -> ModuleNode:
    """A linear layer without bias: `kind` is its class, `ColumnParallelLinear`."""
    arguments = {"input_size": inputs, "output_size": outputs, "bias": False}
    return module(path, f"sglang.srt.layers.linear.{kind}", arguments, **changes)
