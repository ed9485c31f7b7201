"""What a LayerNorm costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_layernorm.definitions import known_form

# Of an element: its place in the mean, its difference from it, the square, the sum of squares and
# the factor of the row; one more for each parameter.
OPERATIONS = 5


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Five to seven float32 operations an element; all is moved once.

    None for a definition with other tensors.
    """
    form = known_form(definition)
    if form is None:
        return None
    each = OPERATIONS + len(form.parameters)
    elements = axes["batch_size"] * definition.const_axes["hidden_size"]
    return moved(definition, axes, each * elements, "float32")
