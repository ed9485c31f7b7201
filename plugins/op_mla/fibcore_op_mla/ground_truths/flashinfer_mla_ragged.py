"""FlashInfer's BatchPrefillWithRaggedKVCacheWrapper as ground truth for mla_ragged."""

from typing import Any

import torch


def flashinfer_mla_ragged_fa2(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The backend written for compute capability 8.0 and up."""
    return _flashinfer_mla_ragged("fa2", **inputs)


def flashinfer_mla_ragged_fa3(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The backend written for Hopper."""
    return _flashinfer_mla_ragged("fa3", **inputs)


def _flashinfer_mla_ragged(
    backend: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 log-sum-exp.

    The kernel gets the sequences that have queries and keys; the rows of the others keep the
    values of the definition (0 and -inf).
    """
    import flashinfer

    device = q.device
    q_lens, kv_lens = qo_indptr.diff(), kv_indptr.diff()
    kept = (q_lens > 0) & (kv_lens > 0)
    rows = torch.repeat_interleave(kept, q_lens.long())
    keys = torch.repeat_interleave(kept, kv_lens.long())
    output = torch.zeros((*q.shape[:2], v.shape[2]), dtype=q.dtype, device=device)
    lse = torch.full(q.shape[:2], float("-inf"), device=device)
    if not bool(kept.any()):
        return output, lse

    def offsets(lengths: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()

    workspace = torch.empty(128 * 1024 * 1024, dtype=torch.uint8, device=device)
    wrapper = flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper(
        workspace, kv_layout="NHD", backend=backend
    )
    wrapper.plan(
        offsets(q_lens[kept]),
        offsets(kv_lens[kept]),
        q.shape[1],
        k.shape[1],
        q.shape[2],
        head_dim_vo=v.shape[2],
        causal=True,
        sm_scale=float(sm_scale),
        q_data_type=q.dtype,
        kv_data_type=k.dtype,
    )
    output[rows], lse[rows] = wrapper.run(q[rows], k[keys], v[keys], return_lse=True)
    return output, lse
