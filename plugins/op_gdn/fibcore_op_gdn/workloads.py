"""Sizes to benchmark gated delta rules with."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_gdn.definitions import form_of

if TYPE_CHECKING:
    import numpy as np

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Sequences of a decode step."""
DRAFTS = ((1, 4), (4, 4), (16, 4), (64, 4), (1, 8), (8, 8), (32, 8), (2, 16))
"""Sequences, and tokens of each that are verified."""
FREE_PLACES = 3
"""States of the pool that no sequence of the batch has."""
# Rates of decay that models are trained from, by which a token's trace halves within one token or
# within hundreds of them.
_RATES = (1.0, 16.0)
_STEPS = (1e-3, 0.1)


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode steps of 1 to 256 sequences, verified drafts, prompts of up to 8192 tokens.

    Queries, keys, values and states are random. Gates are such that some heads remember a token for
    hundreds of others, and where keys are not brought to length 1 by the kernel, beta is that much
    smaller: else states would grow without end. None for a definition with other tensors.
    """
    del constants
    form = form_of(definition)
    if form is None:
        return ()
    name, sizes = definition.name, definition.const_axes
    scale = sizes["head_size"] ** -0.5
    made = []
    if form == "decode":
        for batch in BATCHES:
            tensors = functools.partial(_gates, definition, {"batch_size": batch}, seed)
            label = f"{batch} sequences"
            made.append(WorkloadCase(label, {"batch_size": batch}, {"scale": scale}, tensors))
    elif form == "mtp":
        for batch, drafts in DRAFTS:
            axes = {"batch_size": batch, "seq_len": drafts, "pool_size": batch + FREE_PLACES}
            tensors = functools.partial(_pool, definition, axes, seed)
            label = f"{batch} sequences of {drafts} tokens"
            made.append(WorkloadCase(label, axes, {"scale": scale}, tensors))
    else:
        from fibcore.plugin import prefill_batches

        for each in prefill_batches(seed, name, prefixes=False):
            axes = {
                "total_seq_len": sum(each.queries),
                "num_seqs": each.size,
                "len_cu_seqlens": each.size + 1,
            }
            tensors = functools.partial(_sequences, definition, axes, each.queries, seed)
            made.append(WorkloadCase(each.label, axes, {"scale": scale}, tensors))
    return tuple(made)


def _gates(
    definition: Definition, axes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray[Any, Any]]:
    """A_log and dt_bias as models begin with; b, where keys have the length of random ones."""
    import numpy as np

    from fibcore.plugin import generator

    heads, size = definition.const_axes["num_v_heads"], definition.const_axes["head_size"]
    draws = generator(seed, definition.name, "gates")
    rates = draws.uniform(*_RATES, heads)
    biases = definition.inputs["dt_bias"].shape or ()
    steps = np.exp(
        draws.uniform(
            float(np.log(_STEPS[0])),
            float(np.log(_STEPS[1])),
            *(definition.const_axes[axis] for axis in biases),
        )
    )
    found = {"A_log": np.log(rates), "dt_bias": np.log(np.expm1(steps))}
    if definition.op_type == "gdn":
        spec = definition.inputs["b"].shape or ()
        shape = [axes[axis] if axis in axes else definition.const_axes[axis] for axis in spec]
        words = tuple(axes.values())
        beta = generator(seed, definition.name, "beta", *words).uniform(0.1, 0.9, *shape) / size
        found["b"] = np.log(beta / (1.0 - beta))
    return found


def _pool(
    definition: Definition, axes: Mapping[str, int], seed: int
) -> dict[str, np.ndarray[Any, Any]]:
    """The gates, and a place of the pool for each sequence, in no order."""
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, definition.name, "places", *axes.values())
    places = draws.permutations(1, axes["pool_size"])[0, : axes["batch_size"]]
    return {**_gates(definition, axes, seed), "initial_state_indices": places.astype(np.int32)}


def _sequences(
    definition: Definition, axes: Mapping[str, int], lengths: Sequence[int], seed: int
) -> dict[str, np.ndarray[Any, Any]]:
    """The gates, and where sequences begin."""
    import numpy as np

    offsets = np.array([0, *itertools.accumulate(lengths)], np.int64)
    return {**_gates(definition, axes, seed), "cu_seqlens": offsets}
