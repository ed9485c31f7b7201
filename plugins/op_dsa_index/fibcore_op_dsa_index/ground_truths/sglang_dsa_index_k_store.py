"""SGLang's kernel for index keys, which is compiled on first use."""

import torch

EPS = 1e-06


def sglang_dsa_index_k_store(
    k: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    out_loc: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
) -> torch.Tensor:
    """`fused_k_indexer_norm_rope_store` on a copy of the cache, a page of it a row."""
    from sglang.kernels.ops.attention.dsa.indexer_k import fused_k_indexer_norm_rope_store

    updated = k_index_cache_fp8.clone()
    pages = updated.view(torch.uint8).view(updated.shape[0], -1)
    page_size = k_index_cache_fp8.shape[1]
    fused_k_indexer_norm_rope_store(
        k, pages, out_loc, weight, bias, EPS, cos_sin_cache, positions, page_size
    )
    return updated
