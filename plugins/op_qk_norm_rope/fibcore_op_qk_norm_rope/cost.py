"""What norms of queries and keys and their rotation cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_qk_norm_rope.definitions import shape_of

# Of an element: its square, the sum of squares, the factors of row and weight.
NORM_OPERATIONS = 4
# Of an element that is turned: two products and a sum.
TURN_OPERATIONS = 3
_TABLE_BYTES = 4  # of a float32


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Four float32 operations an element, three more where it is turned.

    Of the table, rows that are used count: those of the positions, where these are known; else
    every token is taken to have another one. None for a definition with other tensors.
    """
    shape = shape_of(definition)
    if shape is None:
        return None
    tokens, rows = axes["num_tokens"], axes["max_seq_len"]
    heads = tokens * (axes["num_qo_heads"] + axes["num_kv_heads"])
    flops = heads * (NORM_OPERATIONS * shape.head_size + TURN_OPERATIONS * shape.rotary_dim)

    def reading(used: int) -> Cost:
        table = {"cos_sin_cache": min(used, rows) * shape.rotary_dim * _TABLE_BYTES}
        return moved(definition, axes, flops, "float32", instead=table)

    positions = values.get("positions")
    if positions is not None:
        return reading(len(set(positions)))
    least = reading(min(tokens, 1))
    assumes = "every token has a position of its own"
    return attrs.evolve(reading(tokens), assumes=assumes, least=least)
