"""Attention of each query to blocks of keys of a paged cache, one choice for a group of heads."""

import torch

NUM_QO_HEADS = 8
NUM_KV_HEADS = 1
HEAD_DIM = 128
TOPK = 16
BLOCK_SIZE = 128
PAGE_SIZE = 64

# Bound of the working memory: keys, of all queries and key heads together, that are worked on at
# once. A GPU needs much to do at a time, a CPU what its caches hold.
GPU_KEYS = 262144
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
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_indices: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> torch.Tensor:
    """Output [num_tokens, heads, head_dim]."""
    num_tokens = q.shape[0]
    assert q.shape == (num_tokens, NUM_QO_HEADS, HEAD_DIM)
    assert k_cache.shape[1:] == v_cache.shape[1:] == (PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM)
    assert block_indices.shape == (num_tokens, NUM_KV_HEADS, TOPK)
    assert seq_lens.shape == (num_tokens,)
    assert block_table.shape[0] == num_tokens

    exact, scale, group = exact_dtype(q), float(sm_scale), NUM_QO_HEADS // NUM_KV_HEADS
    output = torch.empty_like(q)
    head = torch.arange(NUM_KV_HEADS, device=q.device)[:, None]
    offset = torch.arange(BLOCK_SIZE, device=q.device)
    width = NUM_KV_HEADS * TOPK * BLOCK_SIZE
    step = max(1, (GPU_KEYS if q.is_cuda else CPU_KEYS) // width)
    for first in range(0, num_tokens, step):
        own = slice(first, first + step)
        block = block_indices[own, ..., None].long()
        token = (block * BLOCK_SIZE + offset).flatten(2)
        there = (token >= 0) & (token < seq_lens[own, None, None])
        token = token.masked_fill_(~there, 0)
        rows = torch.arange(token.shape[0], device=q.device)[:, None, None]
        page = block_table[own][rows, token // PAGE_SIZE].masked_fill_(~there, 0).long()
        place = token % PAGE_SIZE
        # What is not there stands for anything, NaN as well: 0 * NaN is NaN.
        k = k_cache[page, place, head].masked_fill_(~there[..., None], 0).flatten(0, 1)
        v = v_cache[page, place, head].masked_fill_(~there[..., None], 0).flatten(0, 1)
        queries = q[own].reshape(-1, group, HEAD_DIM)
        logits = product(queries.to(exact), k.to(exact).mT).mul_(scale)
        hidden = ~there.flatten(0, 1)[:, None]
        weights = torch.softmax(logits.masked_fill_(hidden, LOWEST), -1).masked_fill_(hidden, 0)
        output[own] = torch.bmm(weights, v.float()).view(-1, NUM_QO_HEADS, HEAD_DIM).to(q.dtype)
    return output
