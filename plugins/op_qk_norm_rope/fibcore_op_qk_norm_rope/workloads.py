"""Sizes to benchmark norms of queries and keys and their rotation with."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_qk_norm_rope.definitions import epsilon, shape_of
from fibcore_op_qk_norm_rope.names import AXES, Shape

if TYPE_CHECKING:
    import numpy as np

HEADS = (16, 2)
"""Heads of queries and of keys."""
POSITIONS = 32768
"""Rows of the table."""
SMALL_TOKENS = 64
"""Up to so many tokens the heads stand in the dataset, 2 bytes an element."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens at any positions; weights and the table are random.

    Where there are few tokens, heads of every second one are so small that epsilon matters: in
    standard normal numbers, no kernel that forgets it shows. None for a definition with other
    tensors.
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
        tensors = functools.partial(_tensors, definition, shape, axes, seed)
        made.append(WorkloadCase(f"{tokens} tokens", axes, tensors=tensors))
    return tuple(made)


def _tensors(
    definition: Definition, shape: Shape, axes: Mapping[str, int], seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Positions, and few tokens' heads: of tokens 0, 2, ... as large as the root of epsilon."""
    import numpy as np

    from fibcore.plugin import generator

    tokens = axes["num_tokens"]
    made = dict(_positions(definition.name, shape, tokens, seed))
    small = 2 * math.sqrt(epsilon(definition) or 0.0)
    if not small or tokens > SMALL_TOKENS:
        return made
    size = np.where(np.arange(tokens) % 2, 1.0, small).astype(np.float32)[:, None, None]
    edge = math.sqrt(3)  # the root mean square is 1
    for name, heads in ((shape.inputs[0], "num_qo_heads"), ("k", "num_kv_heads")):
        width = definition.const_axes[(definition.inputs[name].shape or ())[-1]]
        draws = generator(seed, definition.name, name, tokens)
        flat = draws.uniform(-edge, edge, tokens, axes[heads] * width)
        made[name] = flat.reshape(tokens, axes[heads], width) * size
    return made


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
