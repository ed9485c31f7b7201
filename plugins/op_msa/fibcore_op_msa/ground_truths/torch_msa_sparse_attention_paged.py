"""Attention to chosen blocks in float64, query by query and key head by key head."""

import torch

BLOCK_SIZE = 128


def torch_msa_sparse_attention_paged(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_indices: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> torch.Tensor:
    """All keys of a sequence, of which those of other blocks are hidden."""
    output = torch.zeros_like(q)
    group = q.shape[1] // k_cache.shape[2]
    for row, length in enumerate(seq_lens.tolist()):
        token = torch.arange(length, device=q.device)
        page = block_table[row, token // k_cache.shape[1]].long()
        place = token % k_cache.shape[1]
        for head in range(k_cache.shape[2]):
            own = block_indices[row, head]
            seen = torch.isin(token // BLOCK_SIZE, own[own >= 0])
            if not bool(seen.any()):
                continue
            k = k_cache[page[seen], place[seen], head].double()
            v = v_cache[page[seen], place[seen], head].double()
            heads = slice(head * group, (head + 1) * group)
            weights = torch.softmax(q[row, heads].double() @ k.T * float(sm_scale), -1)
            output[row, heads] = (weights @ v).to(q.dtype)
    return output
