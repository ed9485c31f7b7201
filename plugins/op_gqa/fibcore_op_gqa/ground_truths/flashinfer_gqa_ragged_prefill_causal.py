"""FlashInfer's batch prefill over ragged keys and values (`flashinfer/prefill.py`)."""

import math

import torch

FLASHINFER_GQA_RAGGED_PREFILL_CAUSAL_WINDOW: int | None = None  # keys a query sees, with its own
FLASHINFER_GQA_RAGGED_PREFILL_CAUSAL_CAP: float | None = None  # bound of the scaled logits
FLASHINFER_GQA_RAGGED_PREFILL_CAUSAL_MASKED = True  # whether a query sees no key behind its own


def flashinfer_gqa_ragged_prefill_causal(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse of `BatchPrefillWithRaggedKVCacheWrapper`.

    The fa2 kernels, which run on every GPU from Ampere on. They stand for -inf by a large negative
    number (about -5e4, `math::inf` in `include/flashinfer/math.cuh`): the lse of a query without
    keys, whose output they set to 0.
    """
    import flashinfer

    total_q, num_qo_heads, head_dim = q.shape
    num_kv_heads = k.shape[1]
    if total_q == 0:  # nothing to launch
        nothing = q.new_empty((0, num_qo_heads, v.shape[-1]))
        return nothing, torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    workspace = torch.zeros(128 * 2**20, dtype=torch.uint8, device=q.device)
    wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace, "NHD", backend="fa2")
    wrapper.plan(
        qo_indptr,
        kv_indptr,
        num_qo_heads,
        num_kv_heads,
        head_dim,
        head_dim_vo=v.shape[-1],
        causal=FLASHINFER_GQA_RAGGED_PREFILL_CAUSAL_MASKED,
        sm_scale=float(sm_scale),
        # FlashInfer counts the keys before the query's own; -1 stands for all of them.
        window_left=(FLASHINFER_GQA_RAGGED_PREFILL_CAUSAL_WINDOW or 0) - 1,
        logits_soft_cap=FLASHINFER_GQA_RAGGED_PREFILL_CAUSAL_CAP or 0.0,
        q_data_type=q.dtype,
        kv_data_type=k.dtype,
    )
    output, lse = wrapper.run(q, k, v, return_lse=True)
    return output, lse.masked_fill(lse < -1e4, -math.inf)
