"""What is called how: the op type, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import OpType

OP_TYPE = "attn_residual"

OP_TYPES = (
    OpType(OP_TYPE, "a layer's input, by attention to residual streams that were kept before it"),
)

FUSED = ("attn_res_fused_tma", "attn_res_hip")
"""Kernels of SGLang that compute the layer's norm as well, on other GPUs."""


def kernel_name(hidden_size: int) -> str:
    """The definition's name, `attn_residual_h7168`."""
    return f"{OP_TYPE}_h{hidden_size}"
