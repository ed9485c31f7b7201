"""FlashInfer's batch decode over a paged KV cache (`flashinfer/decode.py`)."""

import math
from typing import Any

import torch

FLASHINFER_GQA_PAGED_DECODE_WINDOW: int | None = None  # keys a query sees, with its own
FLASHINFER_GQA_PAGED_DECODE_CAP: float | None = None  # bound of the scaled logits


def flashinfer_gqa_paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse of `BatchDecodeWithPagedKVCacheWrapper`.

    Its kernels stand for -inf by a large negative number (about -5e4, `math::inf` in
    `include/flashinfer/math.cuh`): the lse of a sequence without keys, whose output they set to 0.
    An eight-bit cache has two scales, of which it multiplies the output by that of the values.
    """
    import flashinfer

    batch_size, num_qo_heads, head_dim = q.shape
    _, page_size, num_kv_heads, _ = k_cache.shape
    if batch_size == 0:  # its scheduler divides by the batch size
        return torch.empty_like(q), torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    # Pages of one token have no such input: each is full.
    full = (kv_indptr[1:] > kv_indptr[:-1]).int()
    kv_last_page_len = others.get("kv_last_page_len", full)
    scales = {name: float(others[name]) for name in ("k_scale", "v_scale") if name in others}
    workspace = torch.zeros(128 * 2**20, dtype=torch.uint8, device=q.device)
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
        workspace,
        "NHD",
        # The kernel for CUDA cores is built for these group sizes alone.
        use_tensor_cores=num_qo_heads // num_kv_heads not in (1, 2, 3, 4, 8),
    )
    wrapper.plan(
        kv_indptr,
        kv_indices,
        kv_last_page_len,
        num_qo_heads,
        num_kv_heads,
        head_dim,
        page_size,
        q_data_type=q.dtype,
        kv_data_type=k_cache.dtype,
        sm_scale=float(sm_scale),
        # FlashInfer counts the keys before the query's own; -1 stands for all of them.
        window_left=(FLASHINFER_GQA_PAGED_DECODE_WINDOW or 0) - 1,
        logits_soft_cap=FLASHINFER_GQA_PAGED_DECODE_CAP or 0.0,
    )
    output, lse = wrapper.run(q, (k_cache, v_cache), return_lse=True, **scales)
    return output, lse.masked_fill(lse < -1e4, -math.inf)
