"""Latent attention of each query to a window of keys, and to compressed keys, of fp8 caches.

A latent vector is key and value of all heads. It has its first elements in float8_e4m3fn with a
power of two as the scale of 64 of them, and its last ones in bfloat16. Of a page all vectors stand
first, then all their scales, a byte (the exponent + 127) each. A head's sink is a logit without a
value.
"""

import torch

NUM_HEADS = 8
HEAD_DIM = 512
KV_PAD_DIM = 1
SWA_PAGE_SIZE = 256
SWA_KV_DIM = 584
COMPRESSED_PAGE_SIZE = 64  # only: compressed
COMPRESSED_KV_DIM = 584  # only: compressed
SPARSE_TOPK = 128

TILE = 64
SCALE_BYTES = 8
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


def latents(
    cache: torch.Tensor, indices: torch.Tensor, lengths: torch.Tensor, exact: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent vectors [n, keys, head_dim] of a cache, and which of them are there [n, keys].

    fp8 numbers times powers of two are exact in bfloat16.
    """
    page_size, size = cache.shape[1], cache.shape[-1]
    width = size - SCALE_BYTES
    pages = cache.view(torch.uint8).flatten(1)
    vectors = pages[:, : page_size * width].view(-1, page_size, width)
    exponents = pages[:, page_size * width :].view(-1, page_size, SCALE_BYTES)
    there = torch.arange(indices.shape[1], device=cache.device) < lengths[:, None]
    there &= indices >= 0
    index = indices.masked_fill(~there, 0).long()
    page, place = index // page_size, index % page_size
    rows = vectors[page, place]
    end = 2 * HEAD_DIM - width
    tiles = end // TILE
    scales = (exponents[page, place][..., :tiles].int() << 23).view(torch.float32)
    plain = rows[..., :end].contiguous().view(torch.float8_e4m3fn).float()
    plain = plain * scales.repeat_interleave(TILE, -1)
    rope = rows[..., end:].contiguous().view(torch.bfloat16)
    found = torch.cat((plain.to(exact), rope.to(exact)), -1)
    return found.masked_fill_(~there[..., None], 0), there


@torch.no_grad()
def run(
    query: torch.Tensor,
    swa_kv_cache: torch.Tensor,
    compressed_kv_cache: torch.Tensor,  # only: compressed
    sparse_indices: torch.Tensor,
    swa_topk_lens: torch.Tensor,
    extra_sparse_indices: torch.Tensor,  # only: compressed
    extra_sparse_topk_lens: torch.Tensor,  # only: compressed
    sinks: torch.Tensor,
    bmm1_scale: float | torch.Tensor,
) -> torch.Tensor:
    """Output [num_tokens, heads, head_dim]."""
    num_tokens = query.shape[0]
    assert query.shape == (num_tokens, NUM_HEADS, HEAD_DIM)
    assert swa_kv_cache.shape[1:] == (SWA_PAGE_SIZE, KV_PAD_DIM, SWA_KV_DIM)
    assert compressed_kv_cache.shape[1] == COMPRESSED_PAGE_SIZE  # only: compressed
    assert compressed_kv_cache.shape[2:] == (KV_PAD_DIM, COMPRESSED_KV_DIM)  # only: compressed
    assert sparse_indices.shape == (num_tokens, SPARSE_TOPK)
    assert swa_topk_lens.shape == (num_tokens,)
    assert extra_sparse_indices.shape[0] == num_tokens  # only: compressed
    assert extra_sparse_topk_lens.shape == (num_tokens,)  # only: compressed
    assert sinks.shape == (NUM_HEADS,)

    exact, scale = exact_dtype(query), float(bmm1_scale)
    output = torch.empty_like(query)
    width = SPARSE_TOPK
    width += extra_sparse_indices.shape[1]  # only: compressed
    step = max(1, (GPU_KEYS if query.is_cuda else CPU_KEYS) // width)
    for first in range(0, num_tokens, step):
        own = slice(first, first + step)
        keys, there = latents(swa_kv_cache, sparse_indices[own], swa_topk_lens[own], exact)
        more = latents(  # only: compressed
            compressed_kv_cache,  # only: compressed
            extra_sparse_indices[own],  # only: compressed
            extra_sparse_topk_lens[own],  # only: compressed
            exact,  # only: compressed
        )  # only: compressed
        keys, there = torch.cat((keys, more[0]), 1), torch.cat((there, more[1]), 1)  # only: compressed
        logits = product(query[own].to(exact), keys.mT).mul_(scale)
        logits.masked_fill_(~there[:, None], LOWEST)
        total = torch.logaddexp(torch.logsumexp(logits, -1), sinks.float())
        weights = torch.exp(logits - total[..., None])
        output[own] = torch.bmm(weights, keys.float()).to(output.dtype)
    return output
