"""Writes of keys and values to a paged cache of fp8 by torch's assignment."""

import torch


def torch_append_paged_kv_cache_fp8(
    append_key: torch.Tensor,
    append_value: torch.Tensor,
    batch_indices: torch.Tensor,
    positions: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_last_page_len: torch.Tensor,
    k_scale: float,
    v_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two caches, copied and then written in place."""
    del kv_last_page_len  # positions say it, too
    page_size = k_cache.shape[1]
    begins = kv_indptr.long().index_select(0, batch_indices.long())
    ordinal = torch.div(positions.long(), page_size, rounding_mode="floor")
    pages, places = kv_indices.long()[begins + ordinal], positions.long() - ordinal * page_size
    first, second = k_cache.clone(), v_cache.clone()
    # Through bytes: not every device assigns numbers of fp8 to places.
    first.view(torch.uint8)[pages, places] = (
        append_key.float().div(k_scale).to(first.dtype).view(torch.uint8)
    )
    second.view(torch.uint8)[pages, places] = (
        append_value.float().div(v_scale).to(second.dtype).view(torch.uint8)
    )
    return first, second
