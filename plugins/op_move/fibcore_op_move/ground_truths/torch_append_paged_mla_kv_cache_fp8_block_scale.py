"""Writes of latent vectors in fp8 with scales, by torch in float64, a block at a time."""

import torch


def torch_append_paged_mla_kv_cache_fp8_block_scale(
    append_ckv: torch.Tensor,
    append_kpe: torch.Tensor,
    batch_indices: torch.Tensor,
    positions: torch.Tensor,
    kv_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_last_page_len: torch.Tensor,
) -> torch.Tensor:
    """The cache, copied and then written in place."""
    del kv_last_page_len  # positions say it, too
    page_size = kv_cache.shape[1]
    begins = kv_indptr.long().index_select(0, batch_indices.long())
    ordinal = torch.div(positions.long(), page_size, rounding_mode="floor")
    pages, places = kv_indices.long()[begins + ordinal], positions.long() - ordinal * page_size
    updated = kv_cache.clone()
    width, blocks = append_ckv.shape[1], append_ckv.shape[1] // 128
    for block in range(blocks):
        own = slice(128 * block, 128 * block + 128)
        exact = append_ckv[:, own].double()
        scale = (exact.abs().amax(1) / 448).float()
        divisor = torch.where(scale > 0, scale, 1.0).double()
        numbers = (exact / divisor[:, None]).float().to(torch.float8_e4m3fn)
        updated[pages, places, own] = numbers.view(torch.int8)
        there = slice(width + 4 * block, width + 4 * block + 4)
        updated[pages, places, there] = scale[:, None].contiguous().view(torch.int8)
    updated[pages, places, width + 4 * blocks :] = append_kpe.contiguous().view(torch.int8)
    return updated
