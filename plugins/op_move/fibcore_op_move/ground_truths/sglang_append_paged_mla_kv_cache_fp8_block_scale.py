"""SGLang's quantisation of a cache in torch, and torch's assignment to places."""

from typing import Any

import torch


def sglang_append_paged_mla_kv_cache_fp8_block_scale(
    load_sglang: Any,
    append_ckv: torch.Tensor,
    append_kpe: torch.Tensor,
    batch_indices: torch.Tensor,
    positions: torch.Tensor,
    kv_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_last_page_len: torch.Tensor,
) -> torch.Tensor:
    """The cache, copied and then written in place.

    The function is the one that SGLang 0.5.9 holds its kernel against; its scales are rounded to
    the dtype of what is appended.
    """
    del kv_last_page_len  # positions say it, too
    page_size = kv_cache.shape[1]
    begins = kv_indptr.long().index_select(0, batch_indices.long())
    ordinal = torch.div(positions.long(), page_size, rounding_mode="floor")
    pages, places = kv_indices.long()[begins + ordinal], positions.long() - ordinal * page_size
    quantise = load_sglang("srt/layers/attention/nsa/quant_k_cache.py", "_quantize_k_cache_ref")
    rows = torch.cat((append_ckv, append_kpe), 1)[:, None, None]
    updated = kv_cache.clone()
    if len(rows):
        packed = quantise(rows, append_ckv.shape[1], 128)
        updated[pages, places] = packed.view(torch.int8).flatten(1)
    return updated
