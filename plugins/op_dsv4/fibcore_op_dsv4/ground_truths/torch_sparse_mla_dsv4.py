"""Attention to a window and to compressed keys in float64, query by query."""

import torch


def torch_sparse_mla_dsv4(
    query: torch.Tensor,
    swa_kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    swa_topk_lens: torch.Tensor,
    sinks: torch.Tensor,
    bmm1_scale: float | torch.Tensor,
    compressed_kv_cache: torch.Tensor | None = None,
    extra_sparse_indices: torch.Tensor | None = None,
    extra_sparse_topk_lens: torch.Tensor | None = None,
) -> torch.Tensor:
    """A softmax over a query's own keys and the sink."""
    parts = [(swa_kv_cache, sparse_indices, swa_topk_lens)]
    if compressed_kv_cache is not None:
        assert extra_sparse_indices is not None
        assert extra_sparse_topk_lens is not None
        parts.append((compressed_kv_cache, extra_sparse_indices, extra_sparse_topk_lens))
    output = torch.zeros_like(query)
    for token in range(query.shape[0]):
        seen = []
        for cache, indices, lengths in parts:
            own = indices[token, : int(lengths[token])]
            seen.append(vectors(cache, own[own >= 0].long(), query.shape[2]))
        keys = torch.cat(seen)
        logits = query[token].double() @ keys.T * float(bmm1_scale)
        every = torch.cat((logits, sinks.double()[:, None]), 1)
        output[token] = (torch.softmax(every, 1)[:, :-1] @ keys).to(query.dtype)
    return output


def vectors(cache: torch.Tensor, index: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Some latent vectors of a cache in float64."""
    page_size, size = cache.shape[1], cache.shape[-1]
    width = size - 8
    rope = width - head_dim
    flat = cache.view(torch.uint8).reshape(cache.shape[0], page_size * size)
    page, place = index // page_size, index % page_size
    columns = place[:, None] * width + torch.arange(width, device=cache.device)
    rows = flat[page[:, None], columns]
    columns = page_size * width + place[:, None] * 8 + torch.arange(7, device=cache.device)
    exponents = flat[page[:, None], columns].double() - 127
    plain = rows[:, : width - 2 * rope].contiguous().view(torch.float8_e4m3fn).double()
    tile = torch.arange(plain.shape[1], device=cache.device) // 64
    plain = plain * torch.exp2(exponents)[:, tile]
    turned = rows[:, width - 2 * rope :].contiguous().view(torch.bfloat16).double()
    return torch.cat((plain, turned), 1)
