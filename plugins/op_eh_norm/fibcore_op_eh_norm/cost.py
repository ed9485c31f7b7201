"""What a call costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_eh_norm.definitions import is_known

OPERATIONS = 4
"""Of an element: its square, the sum of squares, the factors of row and weight."""


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Four float32 operations an element of both rows; all is moved once.

    None for a definition with other axes or tensors.
    """
    if not is_known(definition):
        return None
    elements = axes["batch_size"] * definition.const_axes["eh_size"]
    return moved(definition, axes, OPERATIONS * elements, "float32")
