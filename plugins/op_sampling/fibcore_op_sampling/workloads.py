"""Sizes to benchmark sampling with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_sampling.names import SOFTMAX, Kind, kind_of

if TYPE_CHECKING:
    import numpy as np

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Sequences that decode together."""

FILTERED_ROWS = (1, 2, 4)
"""Of what filters probabilities alone: benchmarks draw no probabilities for it, so they stand in
the dataset, 4 bytes a token and row."""

# What requests ask for, in turns: Llama's, Qwen's and DeepSeek's defaults, and wide ones.
TOP_K = (20, 40, 50, 100)
TOP_P = (0.9, 0.95, 0.8, 0.6)
MIN_P = (0.1, 0.05, 0.02, 0.2)
TEMPERATURE = (0.6, 0.7, 1.0, 1.5)
_TURNS = {"top_k": TOP_K, "top_p": TOP_P, "min_p": MIN_P, "temperature": TEMPERATURE}


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 256 rows with the parameters that requests have; none for a function of others.

    Logits, and probabilities to draw from, are left to the benchmark: flashinfer-bench makes
    probabilities of random numbers where an op type is `sampling`.
    """
    kind = kind_of(definition)
    if kind is None or definition.var_axes != ("batch_size",):
        return ()
    alone = not kind.draws and kind.stem != SOFTMAX
    return tuple(
        WorkloadCase(
            f"{rows} rows",
            {"batch_size": rows},
            tensors=functools.partial(_tensors, definition, kind, rows, seed, probs=alone),
        )
        for rows in (FILTERED_ROWS if alone else ROWS)
    )


def _tensors(
    definition: Definition, kind: Kind, rows: int, seed: int, *, probs: bool
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Parameters of the rows in turns, and probabilities of which a few tokens have the most."""
    import numpy as np

    from fibcore.plugin import generator

    made: dict[str, np.ndarray[Any, Any]] = {
        name: np.resize(np.asarray(_TURNS[name], definition.inputs[name].dtype), rows)
        for name in kind.filters
    }
    if probs:
        drawn = generator(seed, definition.name, "probs", rows)
        size = definition.const_axes["vocab_size"]
        # The reciprocal's square of an even number: a heavy tail, as next tokens have.
        weights = 1.0 / (drawn.uniform(0.0, 1.0, rows, size).astype(np.float64) + 1e-4) ** 2
        made["probs"] = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
    return made
