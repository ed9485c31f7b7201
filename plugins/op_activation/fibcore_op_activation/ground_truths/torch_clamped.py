"""Clamped gated activations by torch in float64."""

import torch

OFFSET = 0.0
"""What is added to the clamped second half of a row."""


def torch_clamped(input: torch.Tensor, limit: float, alpha: float = 1.0) -> torch.Tensor:
    """The activated rows [num_tokens, hidden_size / 2] in float64."""
    gate, up = input.double().chunk(2, dim=-1)
    gate = torch.where(gate > limit, limit, gate)
    up = torch.where(up.abs() > limit, limit * up.sign(), up)
    return gate / (1.0 + torch.exp(-alpha * gate)) * (up + OFFSET)
