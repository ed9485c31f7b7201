"""Choice of blocks by scores in float64, query by query."""

import torch

BLOCK_SIZE = 128
TOPK = 16
INIT_BLOCKS = 0
LOCAL_BLOCKS = 1


def torch_msa_block_topk_indexer(
    q: torch.Tensor, k_cache: torch.Tensor, seq_lens: torch.Tensor, block_table: torch.Tensor
) -> torch.Tensor:
    """The best of each block by `scatter_reduce`, then a sort."""
    chosen = q.new_full((*q.shape[:2], TOPK), -1, dtype=torch.int32)
    for row, length in enumerate(seq_lens.tolist()):
        if length == 0:
            continue
        token = torch.arange(length, device=q.device)
        page = block_table[row, token // k_cache.shape[1]].long()
        keys = k_cache[page, token % k_cache.shape[1], 0].double()
        scores = q[row].double() @ keys.T
        count = -(-length // BLOCK_SIZE)
        best = torch.full((q.shape[1], count), -torch.inf, dtype=torch.float64, device=q.device)
        index = (token // BLOCK_SIZE).expand_as(scores)
        best.scatter_reduce_(1, index, scores, "amax")
        best[:, max(0, count - LOCAL_BLOCKS) :] = torch.inf
        best[:, :INIT_BLOCKS] = torch.inf
        kept = best.sort(dim=1, descending=True).indices[:, :TOPK]
        chosen[row, :, : kept.shape[1]] = kept.int()
    return chosen
