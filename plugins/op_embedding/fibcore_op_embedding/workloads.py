"""Sizes to benchmark embeddings with."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_embedding.definitions import has_known_tensors

if TYPE_CHECKING:
    import numpy as np

RANKS = 4
"""Parts of the vocabulary, where no model says how large that is."""


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens, evenly distributed over the vocabulary.

    A rank's part is the second one, where others have tokens before and after it; up to 4 tokens
    are its own, so that there is a row. None for a definition with other tensors.
    """
    if not has_known_tensors(definition):
        return ()
    rows = definition.const_axes["vocab_size"]
    scalars: dict[str, int | float] = {}
    total = rows
    if "vocab_start_index" in definition.inputs:
        total = int(constants.get("total_vocab_size", RANKS * rows))
        scalars["vocab_start_index"] = rows if rows < total else 0
    if "embed_scale" in definition.inputs:
        hidden = definition.const_axes["hidden_size"]
        scalars["embed_scale"] = float(constants.get("embed_scale", math.sqrt(hidden)))
    made = []
    for tokens in TOKENS:
        first = int(scalars.get("vocab_start_index", 0))
        tensors = functools.partial(_ids, definition.name, tokens, (first, rows, total), seed)
        axes = {"num_tokens": tokens}
        made.append(WorkloadCase(f"{tokens} tokens", axes, scalars=scalars, tensors=tensors))
    return tuple(made)


_OWN = 4  # up to so many tokens are all of the rank's part


def _ids(
    name: str, tokens: int, part: tuple[int, int, int], seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Tokens; `part` is the first row, the rows and the size of the vocabulary."""
    import numpy as np

    from fibcore.plugin import generator

    first, rows, total = part
    low, high = (first, min(first + rows, total)) if tokens <= _OWN else (0, total)
    share = generator(seed, name, "ids", tokens).uniform(0.0, 1.0, tokens).astype(np.float64)
    return {"input_ids": low + np.minimum(share * (high - low), high - low - 1).astype(np.int64)}
