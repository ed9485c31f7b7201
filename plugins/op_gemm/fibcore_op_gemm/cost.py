"""What a matrix product costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_gemm.formats import of_definition


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """2 M N K operations in the dtype of A; both matrices, their scales and C are moved once.

    None for a definition with other tensors.
    """
    constants = definition.const_axes
    if of_definition(definition) is None or definition.var_axes != ("M",):
        return None
    if not {"N", "K"} <= set(constants):
        return None
    flops = 2 * axes["M"] * constants["N"] * constants["K"]
    return moved(definition, axes, flops, definition.inputs["A"].dtype)
