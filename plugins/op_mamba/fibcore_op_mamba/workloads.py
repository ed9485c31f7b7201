"""Sizes to benchmark selective state spaces with."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_mamba.definitions import form_of

if TYPE_CHECKING:
    import numpy as np

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Sequences of a decode step."""
FREE_PLACES = 3
"""States of the cache that no sequence of the batch has."""
# Rates of decay and steps that models are trained from, by which a token's trace halves within one
# token or within hundreds of them.
_RATES = (1.0, 16.0)
_STEPS = (1e-3, 0.1)


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """Decode steps of 1 to 256 sequences, prompts of up to 8192 tokens.

    All is random but the rates and biases, which are as models begin with: with random ones states
    would grow without end. What one head shares in a decode step is one number: SGLang hands views
    of such, and FlashInfer's kernel takes nothing else. None for a definition with other tensors.
    """
    form = form_of(definition)
    if form is None:
        return ()
    made = []
    if form == "decode":
        for batch in BATCHES:
            axes = {"batch_size": batch, "state_cache_size": batch + FREE_PLACES}
            tensors = functools.partial(_cache, definition, axes, seed)
            made.append(WorkloadCase(f"{batch} sequences", axes, tensors=tensors))
        return tuple(made)

    from fibcore.plugin import prefill_batches

    for each in prefill_batches(seed, definition.name, prefixes=False):
        axes = {
            "total_seq_len": sum(each.queries),
            "num_seqs": each.size,
            "len_cu_seqlens": each.size + 1,
        }
        tensors = functools.partial(_sequences, definition, each.queries, seed)
        made.append(WorkloadCase(each.label, axes, tensors=tensors))
    return tuple(made)


def _steps(definition: Definition, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """A and dt_bias as models begin with, a number for each head."""
    import numpy as np

    from fibcore.plugin import generator

    heads = definition.const_axes["nheads"]
    draws = generator(seed, definition.name, "steps")
    rates = draws.uniform(*_RATES, heads)
    low, high = (float(np.log(step)) for step in _STEPS)
    biases = np.log(np.expm1(np.exp(draws.uniform(low, high, heads))))
    found = {}
    for name, numbers in (("A", -rates), ("dt_bias", biases)):
        axes = definition.inputs[name].shape or ()
        shape = [definition.const_axes[axis] for axis in axes]
        numbers = numbers.reshape(-1, *[1] * (len(shape) - 1))
        found[name] = np.ascontiguousarray(np.broadcast_to(numbers, shape), np.float32)
    return found


def _cache(
    definition: Definition, axes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray[Any, Any]]:
    """What heads share, and a place of the cache for each sequence, in no order."""
    import numpy as np

    from fibcore.plugin import generator

    sizes = {**definition.const_axes, **axes}
    shapes = {n: [sizes[a] for a in definition.inputs[n].shape or ()] for n in ("D", "dt")}
    shared = {}
    for name, shape in shapes.items():
        drawn = generator(seed, definition.name, name).uniform(-1.0, 1.0, *shape[:-1])
        shared[name] = np.ascontiguousarray(np.broadcast_to(drawn[..., None], shape))
    draws = generator(seed, definition.name, "places", *axes.values())
    places = draws.permutations(1, axes["state_cache_size"])[0, : axes["batch_size"]]
    return {**_steps(definition, seed), **shared, "state_batch_indices": places.astype(np.int32)}


def _sequences(
    definition: Definition, lengths: Sequence[int], seed: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Rates and biases, and where sequences begin."""
    import numpy as np

    offsets = np.array([0, *itertools.accumulate(lengths)], np.int64)
    return {**_steps(definition, seed), "cu_seqlens": offsets}
