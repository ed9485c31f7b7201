"""Writes of latent vectors to a paged cache of fp8 by torch's assignment."""

import torch


def torch_append_paged_mla_kv_cache_fp8(
    append_ckv: torch.Tensor,
    append_kpe: torch.Tensor,
    batch_indices: torch.Tensor,
    positions: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_last_page_len: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two caches, copied and then written in place."""
    del kv_last_page_len  # positions say it, too
    page_size = ckv_cache.shape[1]
    begins = kv_indptr.long().index_select(0, batch_indices.long())
    ordinal = torch.div(positions.long(), page_size, rounding_mode="floor")
    pages, places = kv_indices.long()[begins + ordinal], positions.long() - ordinal * page_size
    first, second = ckv_cache.clone(), kpe_cache.clone()
    # Through bytes: not every device assigns numbers of fp8 to places.
    first.view(torch.uint8)[pages, places] = append_ckv.to(first.dtype).view(torch.uint8)
    second.view(torch.uint8)[pages, places] = append_kpe.to(second.dtype).view(torch.uint8)
    return first, second
