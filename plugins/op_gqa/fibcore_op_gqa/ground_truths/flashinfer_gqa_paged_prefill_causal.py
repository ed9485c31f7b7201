"""FlashInfer's batch prefill over a paged KV cache (`flashinfer/prefill.py`)."""

import math

import torch

FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_WINDOW: int | None = None  # keys a query sees, with its own
FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_CAP: float | None = None  # bound of the scaled logits


def flashinfer_gqa_paged_prefill_causal(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **last_page: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse of `BatchPrefillWithPagedKVCacheWrapper`, causal.

    The fa2 kernels: they run on every GPU from Ampere on, and fill the values beyond a sequence's
    end with zeros. They stand for -inf by a large negative number (about -5e4, `math::inf` in
    `include/flashinfer/math.cuh`): the lse of a query without keys, whose output they set to 0.
    """
    import flashinfer

    total_q, num_qo_heads, head_dim = q.shape
    _, page_size, num_kv_heads, _ = k_cache.shape
    if total_q == 0:  # nothing to launch
        return torch.empty_like(q), torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    # Pages of one token have no such input: each is full.
    full = (kv_indptr[1:] > kv_indptr[:-1]).int()
    kv_last_page_len = last_page.get("kv_last_page_len", full)
    workspace = torch.zeros(128 * 2**20, dtype=torch.uint8, device=q.device)
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD", backend="fa2")
    wrapper.plan(
        qo_indptr,
        kv_indptr,
        kv_indices,
        kv_last_page_len,
        num_qo_heads,
        num_kv_heads,
        head_dim,
        page_size,
        causal=True,
        sm_scale=float(sm_scale),
        # FlashInfer counts the keys before the query's own; -1 stands for all of them.
        window_left=(FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_WINDOW or 0) - 1,
        logits_soft_cap=FLASHINFER_GQA_PAGED_PREFILL_CAUSAL_CAP or 0.0,
        q_data_type=q.dtype,
        kv_data_type=k_cache.dtype,
    )
    output, lse = wrapper.run(q, (k_cache, v_cache), return_lse=True)
    return output, lse.masked_fill(lse < -1e4, -math.inf)
