"""What a matrix product costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_gemm.formats import FP4, of_definition


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """2 M N K operations a matrix in the dtype of A; matrices, scales and C are moved once.

    None for a definition with other tensors.
    """
    constants, matrices = definition.const_axes, of_definition(definition)
    if matrices is None or not {"N", "K"} <= set(constants):
        return None
    if definition.var_axes != (("batch_size", "M") if matrices.batched else ("M",)):
        return None
    flops = 2 * axes.get("batch_size", 1) * axes["M"] * constants["N"] * constants["K"]
    dtype = definition.inputs["A"].dtype
    if dtype == "int8" and matrices.packed:
        dtype = FP4
    return moved(definition, axes, flops, dtype)
