"""FlashInfer's write of latent vectors to a paged cache (`flashinfer/page.py`)."""

import torch


def flashinfer_append_paged_mla_kv_cache(
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
    """The two caches, copied and then written in place by `append_paged_mla_kv_cache`."""
    import flashinfer.page

    latent, rope = ckv_cache.clone(), kpe_cache.clone()
    if append_ckv.shape[0]:
        flashinfer.page.append_paged_mla_kv_cache(
            append_ckv,
            append_kpe,
            batch_indices,
            positions,
            latent,
            rope,
            kv_indices,
            kv_indptr,
            kv_last_page_len,
        )
    return latent, rope
