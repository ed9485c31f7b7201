"""What norms of rows that ranks share cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_split_rmsnorm.definitions import form_of

# Of an element: a square and its sum, or the factors of row and weight.
OPERATIONS = 2


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Two float32 operations an element; all is moved once.

    None for a definition with other tensors.
    """
    if form_of(definition) is None:
        return None
    sizes = definition.const_axes
    elements = axes["num_tokens"] * (sizes["q_size"] + sizes["k_size"])
    return moved(definition, axes, OPERATIONS * elements, "float32")
