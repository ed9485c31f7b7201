"""What is called how: the op type, its two kernels, and the names of definitions."""

from __future__ import annotations

from typing import Literal

from fibcore.plugin import Option, OpType

OP_TYPE = "dsa_paged"

FP8 = "float8_e4m3fn"
"""The dtype of the numbers in caches with scales."""

Kind = Literal["attention", "scaled", "indexer"]
"""Attention to the keys that were chosen, in a cache of bfloat16 or of fp8 with scales, and their
choice."""

STEMS: dict[Kind, str] = {
    "attention": "dsa_sparse_attention",
    "scaled": "dsa_sparse_attention_fp8_block_scale",
    "indexer": "dsa_topk_indexer_fp8",
}
"""What names begin with, by kind; the files of the references have these names, too."""

PAGE_SIZE: Option[tuple[int, ...]] = Option(
    "page_size", default=(1, 64), help="KV page sizes.", recorded_as="page_sizes"
)
"""Tokens in a page of the paged KV cache."""

INDEX_PAGE_SIZE = 64
"""Tokens in a page of the cache of index keys: what SGLang asserts on NVIDIA GPUs, in all versions.

`NSATokenToKVPool` (0.5.9) and `DSATokenToKVPool` (0.5.23) in `srt/mem_cache/memory_pool.py`; it is
the only size that DeepGEMM's kernel has.
"""

SCALE_BYTES = 4
"""Bytes of the float32 scale that an index key has, or a block of a latent vector."""

SCALED_BLOCK = 128
"""Elements of a latent vector that have a scale in common, in a cache of fp8.

`DSATokenToKVPool.quant_block_size` of SGLang; FlashMLA calls the format V32_FP8Sparse.
"""

SCALED_PAGE_SIZE = 64
"""Tokens in a page of such a cache: what SGLang asserts before it calls FlashMLA's kernel."""

OP_TYPES = (
    OpType(
        OP_TYPE,
        "sparse latent attention (DSA) to chosen keys of a paged cache, and their choice",
        (PAGE_SIZE,),
    ),
)

FLASHINFER = "flashinfer.mla.BatchMLAPagedAttentionWrapper"
"""FlashInfer's kernel that computes sparse attention: pages of one token are the chosen keys."""

FLASHINFER_TRTLLM = "flashinfer.mla.trtllm_batch_decode_with_kv_cache_mla"
"""The kernel of FlashInfer for Blackwell that takes chosen keys."""


FLASHMLA = "flash_mla.flash_mla_with_kvcache"
"""DeepSeek's kernel for caches of fp8 with scales, which SGLang calls on Hopper."""


def bytes_of_row(ckv: int, kpe: int) -> int:
    """Bytes of a token in a cache of fp8 with scales: numbers, scales, rope part in bfloat16."""
    return ckv + ckv // SCALED_BLOCK * SCALE_BYTES + 2 * kpe


def attention_name(
    heads: int, ckv: int, kpe: int, topk: int, page_size: int, kind: Kind = "attention"
) -> str:
    """The definition's name, `dsa_sparse_attention_h16_ckv512_kpe64_topk2048_ps64`."""
    return f"{STEMS[kind]}_h{heads}_ckv{ckv}_kpe{kpe}_topk{topk}_ps{page_size}"


def indexer_name(heads: int, head_dim: int, topk: int, page_size: int) -> str:
    """The definition's name, `dsa_topk_indexer_fp8_h64_d128_topk2048_ps64`."""
    return f"{STEMS['indexer']}_h{heads}_d{head_dim}_topk{topk}_ps{page_size}"


def flashinfer_has(ckv: int, kpe: int) -> bool:
    """Whether FlashInfer's kernels have these head sizes: DeepSeek's alone."""
    return (ckv, kpe) == (512, 64)
