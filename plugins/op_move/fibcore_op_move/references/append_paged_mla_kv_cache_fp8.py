"""Writes latent vectors and rope parts of new tokens to the pages of their sequences, in fp8.

updated_ckv_cache[p, o] = fp8(append_ckv[t]) for every new token t, where
p = kv_indices[kv_indptr[batch_indices[t]] + positions[t] // page_size] and
o = positions[t] % page_size; every other place is as in ckv_cache. Rope parts likewise.

kv_last_page_len says how many tokens a sequence has, which positions say as well.
"""

import torch

HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64


@torch.no_grad()
def run(
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
    """Copies of ckv_cache [num_pages, page_size, HEAD_DIM_CKV] and kpe_cache [..., HEAD_DIM_KPE].

    append_ckv and append_kpe have a row for each new token; no two tokens share a place.
    """
    assert append_ckv.shape[1] == ckv_cache.shape[2] == HEAD_DIM_CKV
    assert append_kpe.shape[1] == kpe_cache.shape[2] == HEAD_DIM_KPE
    assert ckv_cache.shape[:2] == kpe_cache.shape[:2]
    assert kv_last_page_len.shape[0] == kv_indptr.shape[0] - 1
    page_size = ckv_cache.shape[1]
    entries = kv_indptr[batch_indices] + positions // page_size
    slots = kv_indices[entries].long() * page_size + positions % page_size
    new_latent = append_ckv.to(ckv_cache.dtype).view(torch.uint8)
    new_rope = append_kpe.to(kpe_cache.dtype).view(torch.uint8)
    # As bytes, which every device can copy.
    latent = ckv_cache.view(torch.uint8).flatten(0, 1).index_copy(0, slots, new_latent)
    rope = kpe_cache.view(torch.uint8).flatten(0, 1).index_copy(0, slots, new_rope)
    return latent.view(ckv_cache.shape).view(ckv_cache.dtype), rope.view(kpe_cache.shape).view(
        kpe_cache.dtype
    )
