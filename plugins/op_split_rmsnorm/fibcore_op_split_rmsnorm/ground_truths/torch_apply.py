"""RMSNorm by sums of all ranks by torch, in float64."""

import torch

RANKS = 4
EPSILON = 1e-06


def torch_apply(
    q: torch.Tensor,
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    sums: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised queries and keys, in float64."""
    mean = sums.double() / torch.tensor([[q.shape[1]], [k.shape[1]]], device=q.device) / RANKS
    factor = 1 / torch.sqrt(mean + EPSILON)
    queries = torch.einsum("te,t,e->te", q.double(), factor[0], q_weight.double())
    keys = torch.einsum("te,t,e->te", k.double(), factor[1], k_weight.double())
    return queries, keys
