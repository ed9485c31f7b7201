"""Sparse latent attention to a cache of fp8 with scales, by torch in float64, query by query."""

import math

import torch


def torch_dsa_sparse_attention_fp8_block_scale(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [num_tokens, heads, ckv] and base-2 log-sum-exp [num_tokens, heads]."""
    heads, width = q_nope.shape[1:]
    output = torch.zeros_like(q_nope)
    lse = torch.full((len(q_nope), heads), -math.inf, dtype=torch.float32, device=q_nope.device)
    cache, middle = kv_cache.flatten(0, 1), width + width // 128 * 4
    for token, indices in enumerate(sparse_indices):
        rows = cache[indices[indices >= 0].long()]
        if not len(rows):
            continue
        latent = rows[:, :width].contiguous().view(torch.float8_e4m3fn).double()
        scales = rows[:, width:middle].contiguous().view(torch.float32).double()
        latent = (latent.view(*scales.shape, 128) * scales[..., None]).flatten(1)
        rope = rows[:, middle:].contiguous().view(torch.bfloat16).double()
        query = torch.cat((q_nope[token], q_pe[token]), -1).double()
        logits = query @ torch.cat((latent, rope), -1).T
        largest = logits.amax(-1, keepdim=True)
        powers = torch.exp((logits - largest) * float(sm_scale))
        total = powers.sum(-1, keepdim=True)
        output[token] = (powers / total @ latent).to(output.dtype)
        lse[token] = ((largest * float(sm_scale) + total.log()) / math.log(2))[:, 0].float()
    return output, lse
