"""Writes keys and values of new tokens to the pages of their sequences, in fp8.

updated_k_cache[p, o] = fp8(append_key[t] / k_scale) for every new token t, where
p = kv_indices[kv_indptr[batch_indices[t]] + positions[t] // PAGE_SIZE] and
o = positions[t] % PAGE_SIZE; every other place is as in k_cache. Values likewise.

kv_last_page_len says how many tokens a sequence has, which positions say as well.
"""

import torch

NUM_KV_HEADS = 8
HEAD_DIM = 128
PAGE_SIZE = 64


@torch.no_grad()
def run(
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
    """Copies of k_cache and v_cache [num_pages, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM].

    append_key and append_value are [nnz_kv, NUM_KV_HEADS, HEAD_DIM]; no two tokens share a place.
    """
    assert append_key.shape[1:] == append_value.shape[1:] == (NUM_KV_HEADS, HEAD_DIM)
    assert k_cache.shape[1:] == v_cache.shape[1:] == (PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM)
    assert kv_last_page_len.shape[0] == kv_indptr.shape[0] - 1
    entries = kv_indptr[batch_indices] + positions // PAGE_SIZE
    slots = kv_indices[entries].long() * PAGE_SIZE + positions % PAGE_SIZE
    new_keys = (append_key.to(torch.float32) / k_scale).to(k_cache.dtype).view(torch.uint8)
    new_values = (append_value.to(torch.float32) / v_scale).to(v_cache.dtype).view(torch.uint8)
    # As bytes, which every device can copy.
    keys = k_cache.view(torch.uint8).flatten(0, 1).index_copy(0, slots, new_keys)
    values = v_cache.view(torch.uint8).flatten(0, 1).index_copy(0, slots, new_values)
    return keys.view(k_cache.shape).view(k_cache.dtype), values.view(v_cache.shape).view(
        v_cache.dtype
    )
