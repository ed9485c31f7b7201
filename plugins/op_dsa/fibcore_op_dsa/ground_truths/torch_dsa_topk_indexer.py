"""Choice of keys by torch in float64, one sequence and one head at a time."""

import torch

TOPK = 2048


def torch_dsa_topk_indexer(
    q_index_fp8: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
    weights: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
) -> torch.Tensor:
    """The keys with the largest scores [batch_size, topk], -1 behind them."""
    batch_size, heads, dim = q_index_fp8.shape
    page_size = k_index_cache_fp8.shape[1]
    cache = k_index_cache_fp8.flatten(1)
    chosen = torch.full((batch_size, TOPK), -1, dtype=torch.int32, device=cache.device)
    for row in range(batch_size):
        length = int(seq_lens[row])
        pages = block_table[row, : -(-length // page_size)].long()
        held = cache[pages]
        values, scales = held[:, : page_size * dim], held[:, page_size * dim :]
        keys = values.contiguous().view(torch.float8_e4m3fn).reshape(-1, dim)[:length].double()
        keys *= scales.contiguous().view(torch.float32).reshape(-1, 1)[:length].double()
        scores = torch.zeros(length, dtype=torch.float64, device=cache.device)
        for head in range(heads):
            products = keys @ q_index_fp8[row, head].double()
            scores += weights[row, head].double() * products.clamp(min=0.0)
        best = scores.argsort(descending=True, stable=True)[:TOPK]
        place = pages[best // page_size] * page_size + best % page_size
        chosen[row, : len(place)] = place.int()
    return chosen
