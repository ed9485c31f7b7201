"""Choice of keys by products on the tensor cores for fp8, one sequence at a time."""

import torch

TOPK = 2048


def torch_scaled_mm_dsa_topk_indexer(
    q_index_fp8: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
    weights: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
) -> torch.Tensor:
    """The keys with the largest scores [batch_size, topk], -1 behind them.

    cuBLASLt multiplies the bytes themselves and gives float32; heads are added in float64. Nothing
    is compiled for it. Whole pages are multiplied, so that there are many rows at a time: what
    stands behind a sequence may be NaN, and is in rows of its own.
    """
    batch_size, _, dim = q_index_fp8.shape
    page_size = k_index_cache_fp8.shape[1]
    cache = k_index_cache_fp8.flatten(1)
    one = torch.ones((), dtype=torch.float32, device=cache.device)
    chosen = torch.full((batch_size, TOPK), -1, dtype=torch.int32, device=cache.device)
    for row in range(batch_size):
        length = int(seq_lens[row])
        if not length:
            continue
        pages = block_table[row, : -(-length // page_size)].long()
        held = cache[pages]
        keys = held[:, : page_size * dim].contiguous().view(torch.float8_e4m3fn).reshape(-1, dim)
        products = torch._scaled_mm(
            keys, q_index_fp8[row].T, scale_a=one, scale_b=one, out_dtype=torch.float32
        )
        scales = held[:, page_size * dim :].contiguous().view(torch.float32).flatten()[:length]
        scores = products[:length].relu().double() @ weights[row].double() * scales.double()
        best = scores.topk(min(TOPK, length)).indices
        place = pages[best // page_size] * page_size + best % page_size
        chosen[row, : len(place)] = place.int()
    return chosen
