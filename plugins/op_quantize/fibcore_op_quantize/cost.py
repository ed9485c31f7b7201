"""What a quantisation costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_quantize.definitions import kind_of

# Of an element: its size, its place in the largest, the quotient, and two bounds.
OPERATIONS = 5


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Five float32 operations an element, three where the scale is given; all is moved once.

    None for a definition of which it is not known what it computes.
    """
    kind = kind_of(definition)
    if kind is None:
        return None
    each = OPERATIONS if kind.gives_scales else OPERATIONS - 2
    return moved(definition, axes, each * axes["M"] * definition.const_axes["K"], "float32")
