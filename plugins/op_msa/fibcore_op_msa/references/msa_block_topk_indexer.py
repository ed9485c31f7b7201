"""Choice of the blocks of keys that a query sees, by the largest score of a block's keys."""

import math

import torch

NUM_INDEX_HEADS = 1
HEAD_DIM = 128
TOPK = 16
BLOCK_SIZE = 128
PAGE_SIZE = 64
KV_CACHE_NUM_HEADS = 1
# Blocks that are chosen whatever their scores: the first ones, and the last ones.
INIT_BLOCKS = 0
LOCAL_BLOCKS = 1

# Bound of the working memory: keys, of all queries together, that are worked on at once.
GPU_KEYS = 262144
CPU_KEYS = 4096


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
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
) -> torch.Tensor:
    """Blocks [num_tokens, heads, topk] from the first on, -1 behind them."""
    num_tokens = q.shape[0]
    assert q.shape == (num_tokens, NUM_INDEX_HEADS, HEAD_DIM)
    assert k_cache.shape[1:] == (PAGE_SIZE, KV_CACHE_NUM_HEADS, HEAD_DIM)
    assert seq_lens.shape == (num_tokens,)
    assert block_table.shape[0] == num_tokens

    exact, device = exact_dtype(q), q.device
    shape = (num_tokens, NUM_INDEX_HEADS, TOPK)
    chosen = torch.full(shape, -1, dtype=torch.int32, device=device)
    lengths = seq_lens.tolist()
    blocks = -(-max(lengths, default=0) // BLOCK_SIZE)
    step = max(1, (GPU_KEYS if q.is_cuda else CPU_KEYS) // BLOCK_SIZE // max(1, blocks))
    token = torch.arange(blocks * BLOCK_SIZE, device=device)
    number = torch.arange(blocks, device=device)
    for first in range(0, num_tokens if blocks else 0, step):
        own = slice(first, first + step)
        length = seq_lens[own, None]
        there = token < length
        entry = (token // PAGE_SIZE).expand_as(there).masked_fill(~there, 0)
        page = block_table[own].gather(1, entry).masked_fill_(~there, 0).long()
        keys = k_cache[page, token % PAGE_SIZE, 0].masked_fill_(~there[..., None], 0)
        scores = product(q[own].to(exact), keys.to(exact).mT)
        scores.masked_fill_(~there[:, None], -math.inf)
        best = scores.view(*scores.shape[:2], blocks, BLOCK_SIZE).amax(-1)
        count = -(-length // BLOCK_SIZE)
        always = (number >= count - LOCAL_BLOCKS) | (number < INIT_BLOCKS)
        best.masked_fill_((always & (number < count))[:, None], math.inf)
        kept = torch.topk(best, min(TOPK, blocks), -1).indices
        # Those behind the end come last, and become -1.
        kept = kept.masked_fill_(kept >= count[:, None], blocks).sort(-1).values
        kept = kept.masked_fill_(kept == blocks, -1)
        chosen[own, :, : kept.shape[-1]] = kept.int()
    return chosen
