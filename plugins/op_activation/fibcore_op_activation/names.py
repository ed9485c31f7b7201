"""What is called how: the op type, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import OpType
from fibcore_op_activation.kinds import Kind

OP_TYPE = "activation"

OP_TYPES = (OpType(OP_TYPE, "activations of a feed-forward layer, gated or not"),)


def kernel_name(kind: Kind, width: int) -> str:
    """The definition's name: `silu_and_mul_h28672` with the input's width, `relu2_i32768`."""
    return f"{kind.name}_{'h' if kind.gated else 'i'}{width}"
