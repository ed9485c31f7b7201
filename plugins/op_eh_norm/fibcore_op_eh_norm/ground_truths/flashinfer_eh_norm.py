"""Both norms by FlashInfer's kernel."""

import torch

EPSILON = 1e-06


def flashinfer_eh_norm(
    inputs_embeds: torch.Tensor,
    previous_hidden: torch.Tensor,
    enorm_weight: torch.Tensor,
    hnorm_weight: torch.Tensor,
) -> torch.Tensor:
    """`flashinfer.norm.rmsnorm` of each, side by side."""
    from flashinfer.norm import rmsnorm

    embeds = rmsnorm(inputs_embeds, enorm_weight, eps=EPSILON)
    hidden = rmsnorm(previous_hidden, hnorm_weight, eps=EPSILON)
    return torch.cat((embeds, hidden), -1)
