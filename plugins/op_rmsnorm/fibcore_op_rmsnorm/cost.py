"""What a norm costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved

# Of an element: its square, the sum of squares, and the factors of row and weight.
OPERATIONS = 4


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Four float32 operations an element, five where a residual is added; all is moved once.

    None for a definition with other axes.
    """
    hidden_size = definition.const_axes.get("hidden_size")
    if hidden_size is None or definition.var_axes != ("batch_size",):
        return None
    each = OPERATIONS + ("residual" in definition.inputs)
    return moved(definition, axes, each * axes["batch_size"] * hidden_size, "float32")
