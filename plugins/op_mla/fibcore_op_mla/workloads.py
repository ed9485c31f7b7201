"""Batches to benchmark latent attention with."""

from __future__ import annotations

from collections.abc import Mapping

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_mla.definitions import cache_of, kind_of
from fibcore_op_mla.names import PAGE_SIZE

# Dimensions of a head without position before absorption, in all models of the DeepSeek family.
NOPE_DIM = 128

# Of a quantised cache: not 1, so that it shows where a kernel leaves it out.
KV_SCALE = 0.5


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches, or prompts and chunks; random tensors over shuffled pages.

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
    scale = constants.get("sm_scale")
    if scale is None:
        axes = definition.const_axes
        head = axes["qk_dim"] if kind == "ragged" else NOPE_DIM + axes["head_dim_kpe"]
        scale = head**-0.5
    page_size = definition.const_axes.get(PAGE_SIZE.name)
    scalars = {"sm_scale": float(scale)}
    if cache_of(definition) is not None:
        scalars["kv_scale"] = KV_SCALE
    return sequence_cases(definition, batches, scalars, seed, page_size)
