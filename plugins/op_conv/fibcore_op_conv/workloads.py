"""Sizes to benchmark causal convolutions with."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_conv.definitions import form_of

if TYPE_CHECKING:
    import numpy as np

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Sequences of a decode step."""
FREE_PLACES = 3
"""States of the cache that no sequence of the batch has."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """Decode steps of 1 to 256 sequences, prompts of up to 8192 tokens; none for other tensors."""
    form = form_of(definition)
    if form is None:
        return ()
    made = []
    if form == "update":
        for batch in BATCHES:
            axes = {"batch_size": batch, "state_cache_size": batch + FREE_PLACES}
            tensors = functools.partial(_places, definition.name, axes, seed)
            made.append(WorkloadCase(f"{batch} sequences", axes, tensors=tensors))
        return tuple(made)

    from fibcore.plugin import prefill_batches

    for each in prefill_batches(seed, definition.name, prefixes=False):
        axes = {
            "total_seq_len": sum(each.queries),
            "num_seqs": each.size,
            "len_cu_seqlens": each.size + 1,
        }
        made.append(
            WorkloadCase(each.label, axes, tensors=functools.partial(_offsets, each.queries))
        )
    return tuple(made)


def _places(name: str, axes: Mapping[str, int], seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """A place of the cache for each sequence, in no order."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, name, "places", *axes.values())
    places = draws.permutations(1, axes["state_cache_size"])[0, : axes["batch_size"]]
    return {"conv_state_indices": places.astype(np.int32)}


def _offsets(lengths: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
    """Where sequences begin, and the end of the last one."""
    import numpy as np

    return {"cu_seqlens": np.array([0, *itertools.accumulate(lengths)], np.int64)}
