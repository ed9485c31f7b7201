"""Latent attention of each query to the keys of a paged cache that were chosen for it."""

import math

import torch

NUM_QO_HEADS = 16
HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64
PAGE_SIZE = 64
TOPK = 2048

# Bound of the working memory: keys, of all queries together, that are worked on at once. A GPU
# needs much to do at a time, a CPU what its caches hold.
GPU_KEYS = 65536
CPU_KEYS = 4096
# What hides a logit. Not -inf: the weights of a query without keys would be NaN.
LOWEST = torch.finfo(torch.float32).min


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Products of matrices [n, ., .], summed in float32; those of bfloat16 numbers are exact."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    return torch.bmm(a, b, out_dtype=torch.float32)


def exact_dtype(q: torch.Tensor) -> torch.dtype:
    """What `product` takes: the dtype of q where tensor cores multiply it into float32."""
    on_tensor_cores = q.is_cuda and "out_dtype" in (torch.bmm.__doc__ or "")
    return q.dtype if on_tensor_cores else torch.float32


@torch.no_grad()
def run(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [num_tokens, heads, ckv] and base-2 log-sum-exp [num_tokens, heads]."""
    num_tokens = q_nope.shape[0]
    assert q_nope.shape[1:] == (NUM_QO_HEADS, HEAD_DIM_CKV)
    assert q_pe.shape == (num_tokens, NUM_QO_HEADS, HEAD_DIM_KPE)
    assert ckv_cache.shape[1:] == (PAGE_SIZE, HEAD_DIM_CKV)
    assert kpe_cache.shape == (ckv_cache.shape[0], PAGE_SIZE, HEAD_DIM_KPE)
    assert sparse_indices.shape == (num_tokens, TOPK)

    exact, scale = exact_dtype(q_nope), float(sm_scale)
    all_ckv, all_kpe = ckv_cache.flatten(0, 1), kpe_cache.flatten(0, 1)
    output = torch.empty_like(q_nope)
    lse = torch.empty(q_nope.shape[:2], dtype=torch.float32, device=q_nope.device)
    step = max(1, (GPU_KEYS if q_nope.is_cuda else CPU_KEYS) // TOPK)
    for first in range(0, num_tokens, step):
        own = slice(first, first + step)
        place = sparse_indices[own]
        missing = place == -1
        # The last key of the cache stands in for those, and may hold NaN: 0 * NaN is NaN.
        ckv = all_ckv[place].masked_fill_(missing[..., None], 0).to(exact)
        kpe = all_kpe[place].to(exact)
        logits = product(q_nope[own].to(exact), ckv.mT)
        logits.add_(product(q_pe[own].to(exact), kpe.mT)).mul_(scale)
        logits.masked_fill_(missing[:, None], LOWEST)
        lse[own] = torch.logsumexp(logits, -1)
        output[own] = torch.bmm(torch.softmax(logits, -1), ckv.float()).to(output.dtype)
    # That of a query without keys, the lowest number, overflows to -inf.
    return output, lse.mul_(math.log2(math.e))
