"""SparseMixer's routing (Phi-3.5-MoE): takes the place of `route` in a reference."""

import torch

TOP_K = 2


def first_of_largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [..., count] of the largest values; of equal ones the lower index comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices[..., :count]


def route(
    routing_logits: torch.Tensor,
    routed_scaling_factor: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The TOP_K largest logits; each weighs what it has of the softmax over the logits near it.

    The logits that come before it are not counted. Near is what lies below it by no more than
    two hundredths of the larger of its own magnitude and the best logit.
    Returns experts [n, TOP_K] and weights [n, TOP_K].
    """
    logits = routing_logits.to(torch.float32)
    chosen = first_of_largest(logits, TOP_K)
    left, weights = logits, []
    for slot in range(TOP_K):
        best = logits.gather(1, chosen[:, slot : slot + 1])
        far = (best - logits) / torch.maximum(logits.abs(), best) > 0.02
        near = left.masked_fill(far, float("-inf"))
        weights.append(torch.exp(best - torch.logsumexp(near, dim=1, keepdim=True)))
        left = left.scatter(1, chosen[:, slot : slot + 1], float("-inf"))
    return chosen, torch.cat(weights, dim=1) * float(routed_scaling_factor)
