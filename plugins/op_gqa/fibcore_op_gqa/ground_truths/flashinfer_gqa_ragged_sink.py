"""FlashInfer's ragged prefill with its variant for attention sinks (`flashinfer/prefill.py`)."""

import math

import torch

FLASHINFER_GQA_RAGGED_SINK_WINDOW: int | None = None  # keys a query sees, with its own
FLASHINFER_GQA_RAGGED_SINK_MASKED = True  # whether a query sees no key behind its own


def flashinfer_gqa_ragged_sink(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sinks: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse of `BatchPrefillWithRaggedKVCacheWrapper`, sinks included.

    Its fa2 kernel, compiled with the variant of FlashInfer that has attention sinks. A query
    without keys keeps its sink alone.
    """
    import flashinfer
    from flashinfer.jit.attention.variants import attention_sink_decl

    total_q, num_qo_heads, head_dim = q.shape
    num_kv_heads = k.shape[1]
    alone = (sinks.float() / math.log(2)).repeat(total_q, 1)
    if total_q == 0:  # nothing to launch
        return q.new_empty((0, num_qo_heads, v.shape[-1])), alone
    value_dim = v.shape[-1]
    window_left = (FLASHINFER_GQA_RAGGED_SINK_WINDOW or 0) - 1  # without the query's own key
    name = f"fibcore_sink_ragged_d{head_dim}_{value_dim}_swa{window_left >= 0}"
    tensors, scalars = (["sink"], ["float"]), (["sm_scale"], ["double"])
    variant = ("AttentionSink", attention_sink_decl["fa2"])
    dtypes = (q.dtype, k.dtype, q.dtype, torch.int32)
    wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(
        torch.zeros(128 * 2**20, dtype=torch.uint8, device=q.device),
        "NHD",
        backend="fa2",
        jit_args=[name, *dtypes, head_dim, value_dim, *tensors, *scalars, *variant],
        jit_kwargs={"use_sliding_window": window_left >= 0},
    )
    wrapper.plan(
        qo_indptr,
        kv_indptr,
        num_qo_heads,
        num_kv_heads,
        head_dim,
        head_dim_vo=value_dim,
        causal=FLASHINFER_GQA_RAGGED_SINK_MASKED,
        window_left=window_left,
        q_data_type=q.dtype,
        kv_data_type=k.dtype,
    )
    output, lse = wrapper.run(q, k, v, sinks.float(), float(sm_scale), return_lse=True)
    return output, lse
