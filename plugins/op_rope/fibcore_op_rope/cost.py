"""What a rotary position embedding costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_rope.definitions import gives_angles, has_known_tensors, has_rows

# Of an element that is turned: two products and a sum.
OPERATIONS = 3
_TABLE_BYTES = 4  # of a float32


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Three float32 operations an element that is turned; of the table, rows that are used count.

    With the positions, these are counted; without, every token is taken to have another one.
    None for a definition with other tensors.
    """
    if gives_angles(definition):
        # A product, a cosine, a sine and their scaling for each pair.
        pairs = axes["num_tokens"] * definition.const_axes["num_pairs"]
        return moved(definition, axes, 5 * pairs, "float32")
    if has_rows(definition):
        elements = axes["num_tokens"] * definition.const_axes["head_size"]
        turned = elements * (axes["num_qo_heads"] + axes["num_kv_heads"])
        return moved(definition, axes, OPERATIONS * turned, "float32")
    if not has_known_tensors(definition):
        return None
    tokens, rows = axes["num_tokens"], axes["max_seq_len"]
    rotary_dim = definition.const_axes["rotary_dim"]
    heads = axes["num_qo_heads"] + axes["num_kv_heads"]
    flops = OPERATIONS * tokens * heads * rotary_dim

    def reading(used: int) -> Cost:
        table = {"cos_sin_cache": min(used, rows) * rotary_dim * _TABLE_BYTES}
        return moved(definition, axes, flops, "float32", instead=table)

    positions = values.get("positions")
    if positions is not None:
        # Of several positions a token each gives a part of a row.
        return reading(min(len(set(positions)), tokens))
    least = reading(min(tokens, 1))
    assumes = "every token has a position of its own"
    return attrs.evolve(reading(tokens), assumes=assumes, least=least)
