"""Writes latent vectors, in fp8 with scales, and rope parts to the pages of their sequences.

A token has KV_DIM bytes: HEAD_DIM_CKV numbers in float8_e4m3fn, a float32 scale for each block of
BLOCK of them, and HEAD_DIM_KPE numbers in bfloat16. scale = max |element of the block| / FP8_MAX,
and a number is the element / scale, rounded.

The bytes of a new token t go to updated_kv_cache[p, o], where
p = kv_indices[kv_indptr[batch_indices[t]] + positions[t] // page_size] and
o = positions[t] % page_size; every other place is as in kv_cache.

kv_last_page_len says how many tokens a sequence has, which positions say as well.
"""

import torch

HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64
KV_DIM = 656

BLOCK = 128
FP8_MAX = 448.0


@torch.no_grad()
def run(
    append_ckv: torch.Tensor,
    append_kpe: torch.Tensor,
    batch_indices: torch.Tensor,
    positions: torch.Tensor,
    kv_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_last_page_len: torch.Tensor,
) -> torch.Tensor:
    """A copy of kv_cache [num_pages, page_size, KV_DIM] with the new tokens in it.

    append_ckv and append_kpe have a row for each new token; no two tokens share a place.
    """
    tokens = append_ckv.shape[0]
    assert append_ckv.shape == (tokens, HEAD_DIM_CKV)
    assert append_kpe.shape == (tokens, HEAD_DIM_KPE)
    assert kv_cache.shape[2] == KV_DIM
    assert kv_last_page_len.shape[0] == kv_indptr.shape[0] - 1
    page_size = kv_cache.shape[1]
    entries = kv_indptr[batch_indices] + positions // page_size
    slots = kv_indices[entries].long() * page_size + positions % page_size
    blocks = append_ckv.float().view(tokens, HEAD_DIM_CKV // BLOCK, BLOCK)
    scales = blocks.abs().amax(-1, keepdim=True) / FP8_MAX
    # A block of zeros has a scale of 0, and 0 / 0 is no number.
    numbers = (blocks / scales).masked_fill(scales == 0, 0.0).clamp(-FP8_MAX, FP8_MAX)
    parts = (
        numbers.to(torch.float8_e4m3fn).view(torch.int8).view(tokens, HEAD_DIM_CKV),
        scales.view(torch.int8).view(tokens, HEAD_DIM_CKV // BLOCK * 4),
        append_kpe.contiguous().view(torch.int8),
    )
    rows = kv_cache.flatten(0, 1).index_copy(0, slots, torch.cat(parts, 1))
    return rows.view(kv_cache.shape)
