"""The bounded SiLU of one half times the bounded other half by torch in float64."""

import torch


def torch_situ_and_mul(input: torch.Tensor, beta: float, linear_beta: float) -> torch.Tensor:
    """The activated rows [num_tokens, hidden_size / 2] in float64."""
    gate, up = input.double().chunk(2, dim=-1)
    bounded = beta * torch.tanh(gate / beta) * torch.sigmoid(gate)
    return bounded * linear_beta * torch.tanh(up / linear_beta)
