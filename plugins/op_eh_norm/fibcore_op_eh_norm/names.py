"""What is called how: the op type, its inputs, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import OpType

OP_TYPE = "eh_norm"

OP_TYPES = (
    OpType(OP_TYPE, "RMSNorms of a token's embedding and of the hidden state before, side by side"),
)

INPUTS = ("inputs_embeds", "previous_hidden", "enorm_weight", "hnorm_weight")
"""The inputs of a definition, in order: those of SGLang's function."""

FUNCTION = "fused_eh_norm"
"""SGLang's function (`kernels/ops/layernorm/fused_eh_norm.py`)."""


def kernel_name(hidden_size: int) -> str:
    """The definition's name, `fused_eh_norm_h7168`."""
    return f"{FUNCTION}_h{hidden_size}"
