"""Routing by softmax and top-k (Qwen2 MoE, OLMoE): takes the place of `route` in a reference."""

import torch

TOP_K = 8


def first_of_largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [..., count] of the largest values; of equal ones the lower index comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices[..., :count]


def route(routing_logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax over all experts, then the TOP_K largest; they keep their share of the whole.

    Returns experts [n, TOP_K] and weights [n, TOP_K], which sum to less than 1.
    """
    logits = routing_logits.to(torch.float32)
    chosen = first_of_largest(logits, TOP_K)
    return chosen, torch.softmax(logits, dim=1).gather(1, chosen)
