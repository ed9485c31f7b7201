"""FlashInfer's paged attention with attention sinks (`flashinfer/attention`)."""

import math
from typing import Any

import torch

FLASHINFER_GQA_PAGED_SINK_WINDOW: int | None = None  # keys a query sees, with its own
FLASHINFER_GQA_PAGED_SINK_MASKED = True  # whether a query sees no key behind its own


def flashinfer_gqa_paged_sink_strided(
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


def flashinfer_gqa_paged_sink(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sinks: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse of `BatchAttentionWithAttentionSinkWrapper`, sinks included.

    Decode (no `qo_indptr`: one query a sequence) and prefill, by its fa2 kernels. The wrapper
    compiles a paged prefill kernel under a name that has no head size; here it is compiled under
    one that has it, so that kernels of several sizes can be in one process. A query without keys
    keeps its sink alone. The scales of an eight-bit cache are multiplied to the logits' factor and
    to the output.
    """
    import flashinfer
    from flashinfer.jit.attention.variants import attention_sink_decl

    total_q, num_qo_heads, head_dim = q.shape
    _, page_size, num_kv_heads, _ = k_cache.shape
    alone = (sinks.float() / math.log(2)).repeat(total_q, 1)
    if total_q == 0:  # nothing to launch
        return q.new_empty((0, num_qo_heads, v_cache.shape[-1])), alone
    k_cache, v_cache = flashinfer_gqa_paged_sink_strided(k_cache, v_cache)
    value_dim = v_cache.shape[-1]
    one_each = torch.arange(kv_indptr.shape[0], dtype=torch.int32, device=q.device)
    # Pages of one token have no such input: each is full.
    full = (kv_indptr[1:] > kv_indptr[:-1]).int()
    window_left = (FLASHINFER_GQA_PAGED_SINK_WINDOW or 0) - 1  # without the query's own key
    kept = f"{k_cache.dtype}".rpartition(".")[2]
    name = f"fibcore_sink_paged_{kept}_d{head_dim}_{value_dim}_swa{window_left >= 0}"
    tensors, scalars = (["sink"], ["float"]), (["sm_scale"], ["double"])
    variant = ("AttentionSink", attention_sink_decl["fa2"])
    dtypes = (q.dtype, k_cache.dtype, q.dtype, torch.int32)
    wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(
        torch.zeros(128 * 2**20, dtype=torch.uint8, device=q.device),
        "NHD",
        backend="fa2",
        jit_args=[name, *dtypes, head_dim, value_dim, *tensors, *scalars, *variant],
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
        head_dim_vo=value_dim,
        causal=FLASHINFER_GQA_PAGED_SINK_MASKED,
        window_left=window_left,
        q_data_type=q.dtype,
        kv_data_type=k_cache.dtype,
    )
    caches = (k_cache, v_cache)
    scale = float(sm_scale) * float(others.get("k_scale", 1.0))
    output, lse = wrapper.run(q, caches, sinks.float(), scale, return_lse=True)
    return output * float(others["v_scale"]) if "v_scale" in others else output, lse
