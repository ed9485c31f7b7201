"""What an RMSNorm is called: op type, variant, inputs, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import OpType

OP_TYPE = "rmsnorm"

OP_TYPES = (
    OpType(
        OP_TYPE, "RMSNorm of rows, with or without adding a residual first", parallel_tags=False
    ),
)

GEMMA = "gemma"
"""The variant that multiplies by 1 + weight; its tensors are those of the plain kernel."""

INPUTS = (("hidden_states", "weight"), ("hidden_states", "residual", "weight"))
"""The inputs of the plain and of the fused-add kernels, in order."""


def function_name(*, gemma: bool, fused_add: bool) -> str:
    """The name without sizes: FlashInfer's function and the reference file have it too."""
    return "gemma_" * gemma + "fused_add_" * fused_add + "rmsnorm"


def kernel_name(hidden_size: int, *, gemma: bool, fused_add: bool, dtype: str = "bfloat16") -> str:
    """The definition's name, such as `gemma_fused_add_rmsnorm_h4096`.

    A dtype of rows that is not bfloat16 is in the name.
    """
    behind = "" if dtype == "bfloat16" else f"_{dtype}"
    return f"{function_name(gemma=gemma, fused_add=fused_add)}_h{hidden_size}{behind}"
