"""SGLang's scores of an indexer in PyTorch as ground truth for the choice of keys."""

from collections.abc import Callable
from typing import Any

import torch

TOPK = 2048


def sglang_dsa_topk_indexer(
    load_sglang: Callable[..., Callable[..., Any]],
    q_index_fp8: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
    weights: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
) -> torch.Tensor:
    """The keys with the largest scores [batch_size, topk], -1 behind them.

    `fp8_paged_mqa_logits_torch` takes the sizes of DeepSeek-V3.2 alone and reads all pages of a
    table. It multiplies in bfloat16, and marks what lies behind a sequence with a score of 0.
    """
    if (q_index_fp8.shape[2], k_index_cache_fp8.shape[1]) != (128, 64):
        raise NotImplementedError("it has keys of 128 elements in pages of 64 tokens alone")
    function = load_sglang(
        "srt/layers/attention/dsv4/indexer.py",
        "fp8_paged_mqa_logits_torch",
        FP8_DTYPE=torch.float8_e4m3fn,
        _arange_cache={},
    )
    page_size = k_index_cache_fp8.shape[1]
    known = torch.arange(block_table.shape[1], device=block_table.device) * page_size
    table = block_table.masked_fill(known >= seq_lens[:, None], 0)
    chosen = torch.full((len(table), TOPK), -1, dtype=torch.int32, device=table.device)
    for row in range(len(table)):  # it takes several times the memory of what it reads
        own = slice(row, row + 1)
        scores = function(
            q_index_fp8[own, None],
            k_index_cache_fp8.view(torch.uint8),
            weights[own],
            seq_lens[own],
            table[own],
            None,
            table.shape[1] * page_size,
            clean_logits=False,
        )
        best = scores[0, : int(seq_lens[row])].float().topk(min(TOPK, int(seq_lens[row]))).indices
        place = table[row][best // page_size] * page_size + best % page_size
        chosen[row, : len(place)] = place.int()
    return chosen
