"""FlashMLA as ground truth for sparse latent attention to a cache of fp8, of its two packages."""

import math
from collections.abc import Callable
from typing import Any

import torch

FLASHMLA_HEADS = 64


def flash_mla_dsa_sparse_attention_fp8_block_scale(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 log-sum-exp, by `flash_mla.flash_mla_with_kvcache`."""
    from flash_mla import flash_mla_with_kvcache, get_mla_metadata

    def attend(query: torch.Tensor, cache: torch.Tensor, indices: torch.Tensor) -> Any:
        return flash_mla_with_kvcache(
            q=query,
            k_cache=cache,
            block_table=None,
            cache_seqlens=None,
            head_dim_v=q_nope.shape[2],
            tile_scheduler_metadata=get_mla_metadata()[0],
            softmax_scale=float(sm_scale),
            is_fp8_kvcache=True,
            indices=indices,
        )

    return flash_mla_attended(attend, q_nope, q_pe, kv_cache, sparse_indices)


def flash_mla_attended(
    attend: Callable[..., Any],
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a call gives, of heads that are filled up to a multiple of 64.

    Each query is a sequence of its own. The kernel gets those that have keys; the rows of the
    others keep the values of the definition (0 and -inf). Places that no query sees are cleared,
    because the kernel may weigh a masked key with 0. It gives natural logarithms.
    """
    heads, width = q_nope.shape[1:]
    output = torch.zeros_like(q_nope)
    lse = torch.full(q_nope.shape[:2], -math.inf, dtype=torch.float32, device=q_nope.device)
    kept = (sparse_indices >= 0).any(-1)
    if not bool(kept.any()):
        return output, lse
    indices = sparse_indices[kept].int()
    cache = torch.zeros_like(kv_cache)
    seen = indices[indices >= 0].long()
    cache.flatten(0, 1)[seen] = kv_cache.flatten(0, 1)[seen]
    rows = -(-heads // FLASHMLA_HEADS) * FLASHMLA_HEADS
    query = q_nope.new_zeros(len(indices), 1, rows, width + q_pe.shape[2])
    query[:, 0, :heads] = torch.cat((q_nope, q_pe), -1)[kept]
    paged = cache[:, :, None].view(torch.float8_e4m3fn)
    result, logarithm = attend(query, paged, indices[:, None].contiguous())
    output[kept] = result[:, 0, :heads]
    lse[kept] = logarithm[:, :heads, 0].float() / math.log(2)
    return output, lse


def sgl_kernel_dsa_sparse_attention_fp8_block_scale(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 log-sum-exp, by `sgl_kernel.flash_mla.flash_mla_with_kvcache`."""
    from sgl_kernel.flash_mla import flash_mla_with_kvcache, get_mla_metadata

    def attend(query: torch.Tensor, cache: torch.Tensor, indices: torch.Tensor) -> Any:
        lengths = (indices >= 0).sum(-1)[:, 0].int()
        plan, splits = get_mla_metadata(
            cache_seqlens=lengths,
            num_q_tokens_per_head_k=query.shape[2],
            num_heads_k=1,
            num_heads_q=query.shape[2],
            is_fp8_kvcache=True,
            topk=indices.shape[2],
        )
        return flash_mla_with_kvcache(
            q=query,
            k_cache=cache,
            block_table=lengths.new_empty(len(lengths), 0),
            cache_seqlens=lengths,
            head_dim_v=q_nope.shape[2],
            tile_scheduler_metadata=plan,
            num_splits=splits,
            softmax_scale=float(sm_scale),
            is_fp8_kvcache=True,
            indices=indices,
        )

    return flash_mla_attended(attend, q_nope, q_pe, kv_cache, sparse_indices)
