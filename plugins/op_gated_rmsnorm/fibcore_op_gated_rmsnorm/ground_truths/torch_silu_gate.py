"""Rows times SiLU of a gate by torch, in float64."""

import torch


def torch_silu_gate(hidden_states: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """The rows [batch_size, hidden_size], with the gate's factor, in float64."""
    g = gate.double()
    return hidden_states.double() * g * torch.sigmoid(g)
