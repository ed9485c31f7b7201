"""Writes of latent vectors to a paged cache by torch's assignment to places."""

import torch


def torch_append_paged_mla_kv_cache(
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
    first[pages, places] = append_ckv
    second[pages, places] = append_kpe
    return first, second
