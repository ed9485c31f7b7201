"""The three kernels of multi-head latent attention: names, op types and FlashInfer's names."""

from __future__ import annotations

from typing import Literal

from fibcore.plugin import Option, OpType

Kind = Literal["decode", "prefill", "ragged"]
"""Absorbed paged decode, absorbed paged causal prefill, materialised ragged causal prefill."""

KINDS: tuple[Kind, ...] = ("decode", "prefill", "ragged")

OP_TYPE_OF: dict[Kind, str] = {
    "decode": "mla_paged",
    "prefill": "mla_paged",
    "ragged": "mla_ragged",
}

STAGES: dict[Kind, str] = {"decode": "decode", "prefill": "prefill", "ragged": "prefill"}

STEMS: dict[Kind, str] = {
    "decode": "mla_paged_decode",
    "prefill": "mla_paged_prefill_causal",
    "ragged": "mla_ragged_prefill_causal",
}
"""What names begin with; the files of references have it, too."""

FLASHINFER: dict[Kind, str] = {
    "decode": "flashinfer.mla.BatchMLAPagedAttentionWrapper",
    "prefill": "flashinfer.mla.BatchMLAPagedAttentionWrapper",
    "ragged": "flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper",
}

PAGE_SIZE: Option[tuple[int, ...]] = Option(
    "page_size", default=(1, 64), help="KV page sizes.", recorded_as="page_sizes"
)
"""Tokens in a page of the paged KV cache."""

OP_TYPES = (
    OpType(
        "mla_paged", "latent attention in absorbed form over a paged latent cache", (PAGE_SIZE,)
    ),
    OpType("mla_ragged", "latent attention with materialised keys and values, ragged prefill"),
)

OWN_OP_TYPES = tuple(op_type.name for op_type in OP_TYPES)

# FlashInfer's paged kernels load the rope part 64 elements at a time and are built and tested for
# DeepSeek's sizes alone (flashinfer/aot.py, include/flashinfer/attention/mla.cuh in 0.6.13).
_FLASHINFER_PAGED = ((512, 64),)
# The pairs (qk, vo) that flashinfer/aot.py builds its ragged prefill for.
_FLASHINFER_RAGGED = ((192, 128), (64, 64), (128, 128), (256, 256))


def flashinfer_has(kind: Kind, first: int, second: int) -> bool:
    """Whether FlashInfer has the kernel for head sizes (ckv, kpe), or (qk, vo) where ragged."""
    known = _FLASHINFER_RAGGED if kind == "ragged" else _FLASHINFER_PAGED
    return (first, second) in known


def paged_name(kind: Kind, heads: int, ckv: int, kpe: int, page_size: int) -> str:
    """The definition's name, such as `mla_paged_decode_h16_ckv512_kpe64_ps1`."""
    return f"{STEMS[kind]}_h{heads}_ckv{ckv}_kpe{kpe}_ps{page_size}"


def ragged_name(heads: int, qk: int, vo: int) -> str:
    """The definition's name, such as `mla_ragged_prefill_causal_h16_qk192_vo128`."""
    return f"{STEMS['ragged']}_h{heads}_qk{qk}_vo{vo}"
