"""Batches to benchmark grouped query attention with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_gqa.definitions import extras_of, kind_of
from fibcore_op_gqa.names import PAGE_SIZE

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

FEW_QUERIES = 512
"""Up to so many queries stand in the dataset where they cannot be random."""


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches, or prompts and chunks; random k and v over shuffled pages.

    Queries are random too, except where logits have a cap. Every query has a key, because
    flashinfer-bench takes an lse of -inf for a wrong result. Empty for attention that is not this
    plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    from fibcore.plugin import decode_batches, prefill_batches, sequence_cases

    if kind == "decode":
        batches = decode_batches(seed, definition.name)
    else:
        batches = prefill_batches(seed, definition.name, prefixes=kind == "prefill")
    scale = float(constants.get("sm_scale", definition.const_axes["head_dim"] ** -0.5))
    page_size = definition.const_axes.get(PAGE_SIZE.name)
    cases = sequence_cases(definition, batches, {"sm_scale": scale}, seed, page_size)
    cap = extras_of(definition).cap
    if cap is None:
        return cases
    std = cap / 8 / (scale * definition.const_axes["head_dim"] ** 0.5)
    return tuple(_near_the_cap(definition, case, std, seed) for case in cases)


def _near_the_cap(
    definition: Definition, case: WorkloadCase, std: float, seed: int
) -> WorkloadCase:
    """The case with queries whose logits come near the cap, where there are not too many."""
    queries = case.axes.get("total_q", case.axes.get("batch_size", 0))
    if queries > FEW_QUERIES:
        return case
    made = functools.partial(_queries, case.tensors, definition, case.label, queries, std, seed)
    return attrs.evolve(case, tensors=made)


def _queries(
    others: Callable[[], Arrays],
    definition: Definition,
    label: str,
    queries: int,
    std: float,
    seed: int,
) -> Arrays:
    """The tensors of a case and queries: every second head has this standard deviation, others 1.

    Logits of standard normal queries and keys are about one, where a cap changes nothing.
    """
    from fibcore.plugin import generator

    axes = definition.const_axes
    edge = 3**0.5  # of an even distribution with the standard deviation 1
    draws = generator(seed, definition.name, "q", label)
    q = draws.uniform(-edge, edge, queries, axes["num_qo_heads"], axes["head_dim"])
    q[:, ::2] *= std
    return {**others(), "q": q}
