"""FlashInfer's write of keys and values to a paged cache (`flashinfer/page.py`)."""

import torch


def flashinfer_append_paged_kv_cache(
    append_key: torch.Tensor,
    append_value: torch.Tensor,
    batch_indices: torch.Tensor,
    positions: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_last_page_len: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two caches, copied and then written in place by `append_paged_kv_cache`."""
    import flashinfer

    keys, values = k_cache.clone(), v_cache.clone()
    if append_key.shape[0]:
        flashinfer.append_paged_kv_cache(
            append_key,
            append_value,
            batch_indices,
            positions,
            (keys, values),
            kv_indices,
            kv_indptr,
            kv_last_page_len,
        )
    return keys, values
