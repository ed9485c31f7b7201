"""The three kernels of grouped query attention: their names, op types and FlashInfer names."""

from __future__ import annotations

from typing import Literal

Kind = Literal["decode", "prefill", "ragged"]
"""Paged decode, paged causal prefill, ragged causal prefill."""

OP_TYPES: dict[Kind, str] = {"decode": "gqa_paged", "prefill": "gqa_paged", "ragged": "gqa_ragged"}

STAGES: dict[Kind, str] = {"decode": "decode", "prefill": "prefill", "ragged": "prefill"}

FLASHINFER: dict[Kind, str] = {
    "decode": "flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper",
    "prefill": "flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper",
    "ragged": "flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper",
}

_PREFIXES: dict[Kind, str] = {
    "decode": "gqa_paged_decode",
    "prefill": "gqa_paged_prefill_causal",
    "ragged": "gqa_ragged_prefill_causal",
}


def kernel_name(
    kind: Kind, qo_heads: int, kv_heads: int, head_dim: int, page_size: int | None
) -> str:
    """The definition's name, such as `gqa_paged_decode_h32_kv8_d128_ps64`.

    Heads are those of one tensor-parallel rank; `page_size` is None for the ragged kernel.
    """
    name = f"{_PREFIXES[kind]}_h{qo_heads}_kv{kv_heads}_d{head_dim}"
    return name if page_size is None else f"{name}_ps{page_size}"
