"""What sampling costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_sampling.names import SOFTMAX, kind_of

# Of an element: its place in a running sum. Filters compare it, and those that scale it divide.
DRAWING, FILTER, SCALING = 1, 1, 1
# Division by the temperature, the largest one, its difference, exponential, sum and quotient.
SOFTMAX_OPERATIONS = 6


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """A few float32 operations an element; every probability is read once.

    No more is counted for finding a threshold than one comparison for each filter: what a kernel
    needs besides depends on its algorithm (sorting, or rejection in rounds). None for a definition
    with other axes.
    """
    kind, vocab_size = kind_of(definition), definition.const_axes.get("vocab_size")
    if kind is None or vocab_size is None or definition.var_axes != ("batch_size",):
        return None
    if kind.stem == SOFTMAX:
        each = SOFTMAX_OPERATIONS
    else:
        each = DRAWING + FILTER * len(kind.filters) + (0 if kind.draws else SCALING)
    return moved(definition, axes, each * axes["batch_size"] * vocab_size, "float32")
