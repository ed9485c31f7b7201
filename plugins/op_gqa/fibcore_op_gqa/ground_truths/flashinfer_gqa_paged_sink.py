"""FlashInfer's paged attention with attention sinks (`flashinfer/attention`)."""

import math

import torch

FLASHINFER_GQA_PAGED_SINK_WINDOW: int | None = None  # keys a query sees, with its own


def flashinfer_gqa_paged_sink(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sinks: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **others: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse of `BatchAttentionWithAttentionSinkWrapper`, sinks included.

    Decode (no `qo_indptr`: one query a sequence) and causal prefill, by its fa2 kernels. The
    wrapper compiles a paged prefill kernel under a name that has no head size; here it is
    compiled under one that has it, so that kernels of several sizes can be in one process. A query
    without keys keeps its sink alone.
    """
    import flashinfer
    from flashinfer.jit.attention.variants import attention_sink_decl

    total_q, num_qo_heads, head_dim = q.shape
    _, page_size, num_kv_heads, _ = k_cache.shape
    alone = (sinks.float() / math.log(2)).repeat(total_q, 1)
    if total_q == 0:  # nothing to launch
        return torch.empty_like(q), alone
    one_each = torch.arange(kv_indptr.shape[0], dtype=torch.int32, device=q.device)
    # Pages of one token have no such input: each is full.
    full = (kv_indptr[1:] > kv_indptr[:-1]).int()
    window_left = (FLASHINFER_GQA_PAGED_SINK_WINDOW or 0) - 1  # without the query's own key
    name = f"fibcore_sink_paged_d{head_dim}_swa{window_left >= 0}"
    tensors, scalars = (["sink"], ["float"]), (["sm_scale"], ["double"])
    variant = ("AttentionSink", attention_sink_decl["fa2"])
    dtypes = (q.dtype, k_cache.dtype, q.dtype, torch.int32)
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(
        torch.zeros(128 * 2**20, dtype=torch.uint8, device=q.device),
        "NHD",
        backend="fa2",
        jit_args=[name, *dtypes, head_dim, head_dim, *tensors, *scalars, *variant],
        jit_kwargs={"use_sliding_window": window_left >= 0},
    )
    wrapper.plan(
        others.get("qo_indptr", one_each),
        kv_indptr,
        kv_indices,
        others.get("kv_last_page_len", full),
        num_qo_heads,
        num_kv_heads,
        head_dim,
        page_size,
        causal=True,
        window_left=window_left,
        q_data_type=q.dtype,
        kv_data_type=k_cache.dtype,
    )
    caches = (k_cache, v_cache)
    output, lse = wrapper.run(q, caches, sinks.float(), float(sm_scale), return_lse=True)
    return output, lse
