"""Routing by renormalised top-k (Qwen3 MoE, Mixtral): takes the place of `route` in a reference."""

import torch

TOP_K = 8


def first_of_largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [..., count] of the largest values; of equal ones the lower index comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices[..., :count]


def route(routing_logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The TOP_K largest logits; softmax over those alone gives the weights.

    The same as softmax over all experts, the TOP_K largest, divided by their sum.
    Returns experts [n, TOP_K] and weights [n, TOP_K].
    """
    logits = routing_logits.to(torch.float32)
    chosen = first_of_largest(logits, TOP_K)
    return chosen, torch.softmax(logits.gather(1, chosen), dim=1)
