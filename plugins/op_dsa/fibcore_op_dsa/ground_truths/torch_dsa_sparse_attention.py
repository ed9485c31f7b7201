"""Sparse latent attention by torch in float64, one query at a time."""

import math

import torch


def torch_dsa_sparse_attention(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [num_tokens, heads, ckv] and base-2 log-sum-exp [num_tokens, heads]."""
    heads = q_nope.shape[1]
    output = torch.zeros_like(q_nope)
    lse = torch.full((len(q_nope), heads), -math.inf, dtype=torch.float32, device=q_nope.device)
    for token, indices in enumerate(sparse_indices):
        place = indices[indices >= 0].long()
        if not len(place):
            continue
        page, slot = place // ckv_cache.shape[1], place % ckv_cache.shape[1]
        latent = ckv_cache[page, slot].double()
        query = torch.cat((q_nope[token], q_pe[token]), -1).double()
        logits = query @ torch.cat((latent, kpe_cache[page, slot].double()), -1).T
        largest = logits.amax(-1, keepdim=True)
        powers = torch.exp((logits - largest) * float(sm_scale))
        total = powers.sum(-1, keepdim=True)
        output[token] = (powers / total @ latent).to(output.dtype)
        lse[token] = ((largest * float(sm_scale) + total.log()) / math.log(2))[:, 0].float()
    return output, lse
