"""What an embedding costs: no operations, and the rows that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_embedding.definitions import has_known_tensors

_BYTES = 2  # of a bfloat16


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Every row that a token has is read once, and one is written for each token.

    With the tokens, and the first one of a part, these are counted; without, every token is taken
    to have a row of its own. None for a definition with other tensors.
    """
    if not has_known_tensors(definition):
        return None
    tokens, rows = axes["num_tokens"], definition.const_axes["vocab_size"]
    dtype = definition.inputs["weight"].dtype
    if dtype != "bfloat16":
        return None

    scaled = "embed_scale" in definition.inputs
    flops = tokens * definition.const_axes["hidden_size"] if scaled else 0

    def reading(used: int) -> Cost:
        table = {"weight": min(used, rows) * definition.const_axes["hidden_size"] * _BYTES}
        return moved(definition, axes, flops, dtype, instead=table)

    part = "vocab_start_index" in definition.inputs
    ids, start = values.get("input_ids"), values.get("vocab_start_index") if part else (0,)
    if ids is not None and start:
        return reading(sum(start[0] <= one < start[0] + rows for one in set(ids)))
    least = reading(0 if part else min(tokens, 1))
    assumes = "every token has a row of its own"
    return attrs.evolve(reading(tokens), assumes=assumes, least=least)
