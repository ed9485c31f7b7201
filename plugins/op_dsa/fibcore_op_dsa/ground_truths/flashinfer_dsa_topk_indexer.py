"""FlashInfer's choice of keys as ground truth, of scores that torch computes in float64."""

import torch

TOPK = 2048


def flashinfer_dsa_topk_indexer(
    q_index_fp8: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
    weights: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
) -> torch.Tensor:
    """The keys with the largest scores [batch_size, topk], -1 behind them.

    FlashInfer has the choice and the look-up in a page table of one-token pages in a kernel, and
    no kernel for the scores, which are float32 for it. Its module takes more than 14 minutes to
    compile on 16 cores, so it is used where it is built already (by the package
    flashinfer-jit-cache, or by an earlier use).
    """
    import flashinfer
    from flashinfer.jit.topk import gen_topk_module

    if not gen_topk_module().is_compiled:
        raise NotImplementedError("FlashInfer's module topk is not built on this machine")
    batch_size, _, dim = q_index_fp8.shape
    page_size = k_index_cache_fp8.shape[1]
    cache, device = k_index_cache_fp8.flatten(1), block_table.device
    width = block_table.shape[1] * page_size
    known = torch.arange(block_table.shape[1], device=device) * page_size
    table = block_table.masked_fill(known >= seq_lens[:, None], 0)
    scores = torch.zeros((batch_size, width), dtype=torch.float32, device=device)
    for row in range(batch_size):
        length = int(seq_lens[row])
        pages = table[row, : -(-length // page_size)].long()
        held = cache[pages]
        values, scales = held[:, : page_size * dim], held[:, page_size * dim :]
        keys = values.contiguous().view(torch.float8_e4m3fn).reshape(-1, dim)[:length].double()
        products = (keys @ q_index_fp8[row].double().T).clamp(min=0.0)
        scale = scales.contiguous().view(torch.float32).flatten()[:length].double()
        scores[row, :length] = ((products @ weights[row].double()) * scale).float()
    tokens = table[:, :, None] * page_size + torch.arange(page_size, device=device)
    chosen: torch.Tensor = flashinfer.top_k_page_table_transform(
        scores, tokens.flatten(1).int().contiguous(), seq_lens.int().contiguous(), TOPK
    )
    return chosen
