"""What is called how: the op type, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import OpType
from fibcore_op_quantize.kinds import Kind

OP_TYPE = "quantize"

OP_TYPES = (OpType(OP_TYPE, "quantisation of activations, of what a quantised layer multiplies"),)


def kernel_name(kind: Kind, k: int) -> str:
    """The definition's name: `per_token_group_quant_fp8_g128_k7168`."""
    return f"{kind.name}_k{k}"
