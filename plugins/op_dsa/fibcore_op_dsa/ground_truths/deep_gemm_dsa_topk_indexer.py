"""DeepGEMM's scores of an indexer as ground truth for the choice of keys."""

import torch

TOPK = 2048


def deep_gemm_dsa_topk_indexer(
    q_index_fp8: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
    weights: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
) -> torch.Tensor:
    """The keys with the largest scores [batch_size, topk], -1 behind them.

    The kernel that SGLang calls. It leaves scores behind a sequence as they come, so they are
    hidden here. Older releases take the lengths in one dimension, newer ones in two.
    """
    import deep_gemm

    page_size = k_index_cache_fp8.shape[1]
    if (q_index_fp8.shape[2], page_size) != (128, 64) or q_index_fp8.shape[1] not in (32, 64):
        raise NotImplementedError("it has 32 or 64 heads of 128 elements in pages of 64 tokens")
    width = block_table.shape[1]
    known = torch.arange(width, device=block_table.device) * page_size
    table = block_table.masked_fill(known >= seq_lens[:, None], 0)

    def scores_of(lengths: torch.Tensor) -> torch.Tensor:
        plan = deep_gemm.get_paged_mqa_logits_metadata(lengths, page_size, deep_gemm.get_num_sms())
        scores: torch.Tensor = deep_gemm.fp8_paged_mqa_logits(
            q_index_fp8[:, None].contiguous(),
            k_index_cache_fp8.view(torch.uint8),
            weights,
            lengths,
            table,
            plan,
            width * page_size,
            clean_logits=False,
        )
        return scores

    try:
        scores = scores_of(seq_lens[:, None].contiguous())
    except (RuntimeError, TypeError):
        scores = scores_of(seq_lens)
    beyond = torch.arange(scores.shape[1], device=scores.device) >= seq_lens[:, None]
    best = scores.masked_fill(beyond, float("-inf")).topk(TOPK, -1).indices
    place = table.gather(1, best // page_size) * page_size + best % page_size
    return place.masked_fill(best >= seq_lens[:, None], -1).int()
