"""What a call costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_activation.definitions import kind_of


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """A few float32 operations an output element; all is moved once.

    None for a definition of which it is not known what it computes.
    """
    kind = kind_of(definition)
    if kind is None or kind.width not in definition.const_axes:
        return None
    columns = definition.const_axes[kind.width] // (1 + kind.gated)
    return moved(definition, axes, kind.operations * axes["num_tokens"] * columns, "float32")
