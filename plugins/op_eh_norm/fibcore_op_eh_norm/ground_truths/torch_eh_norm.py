"""Both norms by torch, in float64."""

import torch

EPSILON = 1e-06


def torch_eh_norm(
    inputs_embeds: torch.Tensor,
    previous_hidden: torch.Tensor,
    enorm_weight: torch.Tensor,
    hnorm_weight: torch.Tensor,
) -> torch.Tensor:
    """The normalised rows [batch_size, 2 * hidden_size]."""
    x = torch.stack((inputs_embeds, previous_hidden), 1).double()
    weight = torch.stack((enorm_weight, hnorm_weight)).double()
    x = x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weight
    return x.flatten(1).to(inputs_embeds.dtype)
