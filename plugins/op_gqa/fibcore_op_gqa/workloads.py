"""Batches to benchmark grouped query attention with."""

from __future__ import annotations

from collections.abc import Mapping

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_gqa.definitions import kind_of
from fibcore_op_gqa.names import PAGE_SIZE


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches, or prompts and chunks; random q, k and v over shuffled pages.

    Every query has a key, because flashinfer-bench takes an lse of -inf for a wrong result. Empty
    for attention that is not this plugin's.
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
    return sequence_cases(definition, batches, {"sm_scale": scale}, seed, page_size)
