"""Sizes to benchmark lightning attention with."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_lightning.definitions import form_of

if TYPE_CHECKING:
    import numpy as np

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Sequences of a decode step."""
FREE_PLACES = 3
"""States of the cache that no sequence of the batch has."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """Decode steps of 1 to 256 sequences, prompts of up to 8192 tokens.

    All is random but the slopes, which are those of models: with random ones states would grow
    without end. None for a definition with other tensors.
    """
    form = form_of(definition)
    if form is None:
        return ()
    given = {"scale": constants.get("scale", definition.const_axes["head_dim"] ** -0.5)}
    made = []
    if form == "decode":
        for batch in BATCHES:
            axes = {"batch_size": batch, "state_cache_size": batch + FREE_PLACES}
            tensors = functools.partial(_cache, definition, axes, seed)
            made.append(WorkloadCase(f"{batch} sequences", axes, given, tensors=tensors))
        return tuple(made)

    from fibcore.plugin import prefill_batches

    for each in prefill_batches(seed, definition.name, prefixes=False):
        axes = {
            "total_seq_len": sum(each.queries),
            "num_seqs": each.size,
            "len_cu_seqlens": each.size + 1,
        }
        tensors = functools.partial(_sequences, definition, each.queries)
        made.append(WorkloadCase(each.label, axes, given, tensors=tensors))
    return tuple(made)


def slopes(heads: int) -> list[float]:
    """Slopes of heads as models have them: 2^(-8 / heads), its square, ... (arXiv:2108.12409)."""
    return [2.0 ** (-8.0 * (head + 1) / heads) for head in range(heads)]


def _slope(definition: Definition) -> dict[str, np.ndarray[Any, Any]]:
    import numpy as np

    return {"slope": np.array(slopes(definition.const_axes["num_heads"]), np.float32)}


def _cache(
    definition: Definition, axes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Slopes, and a place of the cache for each sequence, in no order."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, definition.name, "places", *axes.values())
    places = draws.permutations(1, axes["state_cache_size"])[0, : axes["batch_size"]]
    return {**_slope(definition), "state_batch_indices": places.astype(np.int32)}


def _sequences(definition: Definition, lengths: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
    """Slopes, and where sequences begin."""
    import numpy as np

    offsets = np.array([0, *itertools.accumulate(lengths)], np.int64)
    return {**_slope(definition), "cu_seqlens": offsets}
