"""Choice of the keys that a query of sparse attention sees, by scores of index heads in fp8."""

import math

import torch

NUM_INDEX_HEADS = 64
INDEX_HEAD_DIM = 128
PAGE_SIZE = 64
TOPK = 2048
KV_CACHE_NUM_HEADS = 1
HEAD_DIM_WITH_SCALE = 132

# Bound of the working memory: keys, of all queries together, that are worked on at once. A GPU
# needs much to do at a time, a CPU what its caches hold.
GPU_KEYS = 262144
CPU_KEYS = 4096


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Products of matrices [n, ., .], summed in float32; those of bfloat16 numbers are exact."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    return torch.bmm(a, b, out_dtype=torch.float32)


def exact_dtype(q: torch.Tensor) -> torch.dtype:
    """What holds fp8 numbers and `product` takes: bfloat16 where tensor cores multiply it."""
    on_tensor_cores = q.is_cuda and "out_dtype" in (torch.bmm.__doc__ or "")
    return torch.bfloat16 if on_tensor_cores else torch.float32


def scores_of(
    q: torch.Tensor, weights: torch.Tensor, pages: torch.Tensor, exact: torch.dtype
) -> torch.Tensor:
    """Scores [n, keys] of the keys of some pages of n sequences, in float32.

    Args:
        q: [n, heads, dim], in the dtype `exact`.
        weights: [n, heads].
        pages: [n, number of pages, page_size * bytes of a key and its scale], bytes.
        exact: What `product` takes.
    """
    n, keys = pages.shape[0], pages.shape[1] * PAGE_SIZE
    end = PAGE_SIZE * INDEX_HEAD_DIM
    values, scales = pages[..., :end], pages[..., end:]
    k = values.contiguous().view(torch.float8_e4m3fn).view(n, keys, INDEX_HEAD_DIM).to(exact)
    scale = scales.contiguous().view(torch.float32).view(n, keys)
    return torch.bmm(weights[:, None], product(q, k.mT).relu_())[:, 0].mul_(scale)


@torch.no_grad()
def run(
    q_index_fp8: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
    weights: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
) -> torch.Tensor:
    """The keys with the largest scores [batch_size, topk], -1 behind them."""
    batch_size = q_index_fp8.shape[0]
    assert q_index_fp8.shape[1:] == (NUM_INDEX_HEADS, INDEX_HEAD_DIM)
    assert k_index_cache_fp8.shape[1:] == (PAGE_SIZE, KV_CACHE_NUM_HEADS, HEAD_DIM_WITH_SCALE)
    assert weights.shape == (batch_size, NUM_INDEX_HEADS)
    assert seq_lens.shape == (batch_size,)
    assert block_table.shape[0] == batch_size
    assert block_table.shape[1] * PAGE_SIZE >= TOPK

    exact, device = exact_dtype(q_index_fp8), q_index_fp8.device
    cache = k_index_cache_fp8.flatten(1)
    chosen = torch.full((batch_size, TOPK), -1, dtype=torch.int32, device=device)
    lengths = seq_lens.tolist()
    # The longest sequences first, so that those of about the same length share a group.
    order = sorted((i for i in range(batch_size) if lengths[i] > 0), key=lambda i: -lengths[i])
    rows = torch.tensor(order, device=device)
    budget = max(1, (GPU_KEYS if q_index_fp8.is_cuda else CPU_KEYS) // PAGE_SIZE)
    first = 0
    while first < len(order):
        longest = lengths[order[first]]
        count = -(-longest // PAGE_SIZE)
        own = rows[first : first + max(1, budget // count)]
        length = seq_lens[own, None]
        # Sequences that have fewer pages read their last one again.
        page = torch.arange(count, device=device)
        table = block_table[own].gather(1, torch.minimum(page, (length - 1) // PAGE_SIZE))
        q, weight = q_index_fp8[own].to(exact), weights[own]
        parts = [
            scores_of(q, weight, cache[table[:, begin : begin + budget]], exact)
            for begin in range(0, count, budget)
        ]
        scores = torch.cat(parts, -1)
        # Memory behind the last key may hold anything, NaN too.
        beyond = torch.arange(scores.shape[1], device=device) >= length
        scores.masked_fill_(beyond, -math.inf)
        best = scores.topk(min(TOPK, scores.shape[1]), -1).indices
        place = table.gather(1, best // PAGE_SIZE) * PAGE_SIZE + best % PAGE_SIZE
        place.masked_fill_(best >= length, -1)
        chosen[own, : place.shape[1]] = place.int()
        first += len(own)
    return chosen
