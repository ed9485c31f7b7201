"""What a gated norm costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_gated_rmsnorm import silu_gate
from fibcore_op_gated_rmsnorm.definitions import shape_of
from fibcore_op_gated_rmsnorm.names import SILU_GATE

# Of an element: its square, the sum of squares, the factors of row and weight; exponential, sum and
# quotient of the gate's activation, its product with the gate (SiLU), and that with the row.
OPERATIONS = {"silu": 9, "sigmoid": 8}


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Eight or nine float32 operations an element; all is moved once.

    None for a definition with other tensors or axes.
    """
    if definition.op_type == SILU_GATE:
        return silu_gate.cost(definition, axes)
    shape = shape_of(definition)
    if shape is None:
        return None
    elements = axes["batch_size"] * shape.hidden_size
    return moved(definition, axes, OPERATIONS[shape.activation] * elements, "float32")
