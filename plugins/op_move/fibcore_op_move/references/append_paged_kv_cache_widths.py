"""Writes keys and values of new tokens to the pages of their sequences.

updated_k_cache[p, o] = append_key[t] for every new token t, where
p = kv_indices[kv_indptr[batch_indices[t]] + positions[t] // PAGE_SIZE] and
o = positions[t] % PAGE_SIZE; every other place is as in k_cache. Values likewise.

kv_last_page_len says how many tokens a sequence has, which positions say as well.
"""

import torch

NUM_KV_HEADS = 4
HEAD_DIM_QK = 192
HEAD_DIM_VO = 128
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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Copies of the caches [num_pages, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM_QK or HEAD_DIM_VO].

    append_key and append_value have a row for each new token; no two tokens share a place.
    """
    assert append_key.shape[1:] == (NUM_KV_HEADS, HEAD_DIM_QK)
    assert append_value.shape[1:] == (NUM_KV_HEADS, HEAD_DIM_VO)
    assert k_cache.shape[1:] == (PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM_QK)
    assert v_cache.shape[1:] == (PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM_VO)
    assert kv_last_page_len.shape[0] == kv_indptr.shape[0] - 1
    entries = kv_indptr[batch_indices] + positions // PAGE_SIZE
    slots = kv_indices[entries].long() * PAGE_SIZE + positions % PAGE_SIZE
    keys = k_cache.flatten(0, 1).index_copy(0, slots, append_key)
    values = v_cache.flatten(0, 1).index_copy(0, slots, append_value)
    return keys.view(k_cache.shape), values.view(v_cache.shape)
