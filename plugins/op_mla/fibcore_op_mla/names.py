"""The three kernels of multi-head latent attention: names, op types and FlashInfer's names."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import Option, OpType

Kind = Literal["decode", "prefill", "ragged"]
"""Absorbed paged decode, absorbed paged causal prefill, materialised ragged causal prefill."""


@attrs.frozen
class KernelKind:
    """What sets a kind of kernel apart beside its tensors.

    Attributes:
        op_type: Its op type.
        stage: The stage in which it runs, "decode" or "prefill".
        stem: What its names begin with; the files of its reference have it, too.
        flashinfer: FlashInfer's name for it.
        sglang: SGLang's torch-native function for it.
        description: What it does, for the description of a definition.
    """

    op_type: str
    stage: Literal["decode", "prefill"]
    stem: str
    flashinfer: str
    sglang: str
    description: str


_ABSORBED = (
    "the key projection is absorbed into the queries, all heads share the cached latent "
    "vectors and rope parts as keys, and the latent vectors are the values."
)

KINDS: dict[Kind, KernelKind] = {
    "decode": KernelKind(
        op_type="mla_paged",
        stage="decode",
        stem="mla_paged_decode",
        flashinfer="flashinfer.mla.BatchMLAPagedAttentionWrapper",
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_decode",
        description=f"Latent attention (MLA) decode, one query a sequence: {_ABSORBED}",
    ),
    "prefill": KernelKind(
        op_type="mla_paged",
        stage="prefill",
        stem="mla_paged_prefill_causal",
        flashinfer="flashinfer.mla.BatchMLAPagedAttentionWrapper",
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_extend",
        description=f"Latent attention (MLA) causal prefill over a paged cache: {_ABSORBED}",
    ),
    "ragged": KernelKind(
        op_type="mla_ragged",
        stage="prefill",
        stem="mla_ragged_prefill_causal",
        flashinfer="flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper",
        sglang="sglang TorchNativeAttnBackend._run_sdpa_forward_extend",
        description=(
            "Latent attention (MLA) causal prefill with keys and values materialised from the "
            "latent vectors, each head its own."
        ),
    ),
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


CACHES = {"float8_e4m3fn": "fp8kv", "float8_e5m2": "fp8e5m2kv"}
"""What names call a quantised cache, by its dtype; those that definitions have."""


def paged_name(
    kind: Kind, heads: int, ckv: int, kpe: int, page_size: int, cache: str | None = None
) -> str:
    """The definition's name, such as `mla_paged_decode_h16_ckv512_kpe64_ps1`, `..._ps1_fp8kv`."""
    name = f"{KINDS[kind].stem}_h{heads}_ckv{ckv}_kpe{kpe}_ps{page_size}"
    return name if cache is None else f"{name}_{CACHES[cache]}"


def ragged_name(heads: int, qk: int, vo: int) -> str:
    """The definition's name, such as `mla_ragged_prefill_causal_h16_qk192_vo128`."""
    return f"{KINDS['ragged'].stem}_h{heads}_qk{qk}_vo{vo}"
