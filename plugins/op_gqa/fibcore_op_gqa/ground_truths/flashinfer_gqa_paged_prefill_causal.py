"""FlashInfer's batch prefill over a paged KV cache (`flashinfer/prefill.py`)."""

import math
from typing import Any

import torch

FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_WINDOW: int | None = None  # keys a query sees, with its own
FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_CAP: float | None = None  # bound of the scaled logits
FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_MASKED = True  # whether a query sees no key behind its own


def flashinfer_gqa_paged_prefill_causal_strided(
    k_cache: torch.Tensor, v_cache: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both caches with the same strides, which FlashInfer asks for: of the wider one."""
    width = max(k_cache.shape[-1], v_cache.shape[-1])
    found = []
    for cache in (k_cache, v_cache):
        rows = cache
        if cache.shape[-1] < width:
            rows = cache.new_empty((*cache.shape[:-1], width))[..., : cache.shape[-1]]
            rows.copy_(cache)
        found.append(rows)
    return found[0], found[1]


def flashinfer_gqa_paged_prefill_causal(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse of `BatchPrefillWithPagedKVCacheWrapper`.

    Also of decode (no `qo_indptr`: one query a sequence). The fa2 kernels: they run on every GPU
    from Ampere on, and fill the values beyond a sequence's end with zeros. They stand for -inf by a
    large negative number (about -5e4, `math::inf` in `include/flashinfer/math.cuh`): the lse of a
    query without keys, whose output they set to 0. That of a query from which a mask hides all keys
    is their mean, which is set to 0 here. An eight-bit cache has two scales, of which it multiplies
    the output by that of the values.
    """
    import flashinfer

    total_q, num_qo_heads, head_dim = q.shape
    _, page_size, num_kv_heads, _ = k_cache.shape
    if total_q == 0:  # nothing to launch
        nothing = q.new_empty((0, num_qo_heads, v_cache.shape[-1]))
        return nothing, torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    k_cache, v_cache = flashinfer_gqa_paged_prefill_causal_strided(k_cache, v_cache)
    one_each = torch.arange(kv_indptr.shape[0], dtype=torch.int32, device=q.device)
    # Pages of one token have no such input: each is full.
    full = (kv_indptr[1:] > kv_indptr[:-1]).int()
    kv_last_page_len = others.get("kv_last_page_len", full)
    scales = {name: float(others[name]) for name in ("k_scale", "v_scale") if name in others}
    masked: dict[str, torch.Tensor] = {}
    if "custom_mask" in others:
        # It counts keys without looking for sequences that have no page.
        kv_last_page_len = torch.where(full > 0, kv_last_page_len, page_size)
        masked = {
            "custom_mask": others["custom_mask"],
            "seq_lens": full
            * ((kv_indptr[1:] - kv_indptr[:-1] - 1) * page_size + kv_last_page_len),
        }
    workspace = torch.zeros(128 * 2**20, dtype=torch.uint8, device=q.device)
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD", backend="fa2")
    wrapper.plan(
        others.get("qo_indptr", one_each),
        kv_indptr,
        kv_indices,
        kv_last_page_len,
        num_qo_heads,
        num_kv_heads,
        head_dim,
        page_size,
        head_dim_vo=v_cache.shape[-1],
        causal=FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_MASKED and not masked,
        sm_scale=float(sm_scale),
        # FlashInfer counts the keys before the query's own; -1 stands for all of them.
        window_left=(FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_WINDOW or 0) - 1,
        logits_soft_cap=FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_CAP or 0.0,
        q_data_type=q.dtype,
        kv_data_type=k_cache.dtype,
        **masked,
    )
    output, lse = wrapper.run(q, (k_cache, v_cache), return_lse=True, **scales)
    blind = lse < -1e4
    return output.masked_fill(blind[..., None], 0.0), lse.masked_fill(blind, -math.inf)
