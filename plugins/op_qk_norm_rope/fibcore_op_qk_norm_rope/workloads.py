"""Sizes to benchmark norms of queries and keys and their rotation with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_qk_norm_rope.definitions import shape_of
from fibcore_op_qk_norm_rope.names import AXES, Shape

if TYPE_CHECKING:
    import numpy as np

HEADS = (16, 2)
"""Heads of queries and of keys."""
POSITIONS = 32768
"""Rows of the table."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens at any positions; heads, weights and the table are random.

    None for a definition with other tensors.
    """
    shape = shape_of(definition)
    if shape is None:
        return ()
    queries, keys = HEADS
    made = []
    for tokens in TOKENS:
        axes = {
            "num_tokens": tokens,
            "num_qo_heads": queries,
            "num_kv_heads": keys,
            "max_seq_len": POSITIONS,
        }
        tensors = functools.partial(_positions, definition.name, shape, tokens, seed)
        made.append(WorkloadCase(f"{tokens} tokens", axes, tensors=tensors))
    return tuple(made)


def _positions(
    name: str, shape: Shape, tokens: int, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Positions anywhere in the table, and which of a token's turns each pair, in turns."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, name, "positions", tokens)
    rows = AXES if shape.sections else 1
    drawn = draws.uniform(0, POSITIONS, rows, tokens).astype(np.int64).clip(0, POSITIONS - 1)
    if not shape.sections:
        return {"positions": drawn[0]}
    axis_map = np.arange(shape.rotary_dim // 2, dtype=np.int32) % AXES
    return {"positions": drawn, "axis_map": axis_map}
