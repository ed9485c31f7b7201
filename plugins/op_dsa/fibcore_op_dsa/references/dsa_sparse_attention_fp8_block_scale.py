"""Latent attention of each query to the keys that were chosen for it, of a paged cache of fp8.

A token has KV_DIM bytes: HEAD_DIM_CKV numbers in float8_e4m3fn, a float32 scale for each block of
BLOCK of them, and HEAD_DIM_KPE numbers in bfloat16. An element is its number times its scale.
"""

import math

import torch

from fibcore_op_dsa.references.dsa_sparse_attention import exact_dtype, product

NUM_QO_HEADS = 16
HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64
PAGE_SIZE = 64
TOPK = 2048
KV_DIM = 656

BLOCK = 128

# Bound of the working memory: keys, of all queries together, that are worked on at once. A GPU
# needs much to do at a time, a CPU what its caches hold.
GPU_KEYS = 65536
CPU_KEYS = 4096
# What hides a logit. Not -inf: the weights of a query without keys would be NaN.
LOWEST = torch.finfo(torch.float32).min


@torch.no_grad()
def run(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [num_tokens, heads, ckv] and base-2 log-sum-exp [num_tokens, heads]."""
    num_tokens = q_nope.shape[0]
    assert q_nope.shape[1:] == (NUM_QO_HEADS, HEAD_DIM_CKV)
    assert q_pe.shape == (num_tokens, NUM_QO_HEADS, HEAD_DIM_KPE)
    assert kv_cache.shape[1:] == (PAGE_SIZE, KV_DIM)
    assert sparse_indices.shape == (num_tokens, TOPK)

    exact, scale = exact_dtype(q_nope), float(sm_scale)
    cache, end = kv_cache.flatten(0, 1), HEAD_DIM_CKV + HEAD_DIM_CKV // BLOCK * 4
    output = torch.empty_like(q_nope)
    lse = torch.empty(q_nope.shape[:2], dtype=torch.float32, device=q_nope.device)
    step = max(1, (GPU_KEYS if q_nope.is_cuda else CPU_KEYS) // TOPK)
    for first in range(0, num_tokens, step):
        own = slice(first, first + step)
        place = sparse_indices[own]
        missing = place == -1
        # The last key of the cache stands in for those, and may be no number: 0 * NaN is NaN.
        rows = cache[place].masked_fill_(missing[..., None], 0)
        numbers = rows[..., :HEAD_DIM_CKV].view(torch.float8_e4m3fn)
        scales = rows[..., HEAD_DIM_CKV:end].view(torch.float32)
        kpe = rows[..., end:].view(torch.bfloat16)
        logits = product(q_pe[own].to(exact), kpe.to(exact).mT)
        # Numbers of fp8 are exact in any dtype; scales of a block multiply its product.
        for block in range(HEAD_DIM_CKV // BLOCK):
            part = slice(block * BLOCK, (block + 1) * BLOCK)
            some = product(q_nope[own, :, part].to(exact), numbers[..., part].to(exact).mT)
            logits.add_(some * scales[:, None, :, block])
        logits.mul_(scale)
        ckv = numbers.float() * scales.repeat_interleave(BLOCK, -1)
        logits.masked_fill_(missing[:, None], LOWEST)
        lse[own] = torch.logsumexp(logits, -1)
        output[own] = torch.bmm(torch.softmax(logits, -1), ckv).to(output.dtype)
    # That of a query without keys, the lowest number, overflows to -inf.
    return output, lse.mul_(math.log2(math.e))
