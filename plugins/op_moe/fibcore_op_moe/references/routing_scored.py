"""Routings of known parts: takes the place of `route` in a reference."""

import torch

NUM_EXPERTS = 256
TOP_K = 8
NUM_GROUPS = 8
TOP_GROUPS = 4


def first_of_largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [..., count] of the largest values; of equal ones the lower index comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices[..., :count]


def route(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor,  # only: routing_bias
    # only: hash: input_ids: torch.Tensor,
    # only: hash: tid2eid: torch.Tensor,
    # only: per_expert_scale: per_expert_scale: torch.Tensor,
    # only: softcap: router_logit_softcap: float | torch.Tensor,
    routed_scaling_factor: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score the logits, choose TOP_K experts, and weigh these by their scores.

    # only: routing_bias: The bias decides which experts are chosen, and is not in the weights.
    # only: best_groups: Only experts of the TOP_GROUPS groups whose best expert is best can be chosen.
    # only: two_best: Only experts of the TOP_GROUPS groups whose two best are best can be chosen.
    # only: each_group: TOP_K / NUM_GROUPS experts are chosen of each group.
    # only: hash: A row of tid2eid says which experts a token of the vocabulary has.
    Returns experts [n, TOP_K] and weights [n, TOP_K].
    """
    logits = routing_logits.to(torch.float32)
    # only: softcap: cap = float(router_logit_softcap)
    # only: softcap: scores = torch.softmax(cap * torch.tanh(logits / cap), dim=1)
    # only: softmax: scores = torch.softmax(logits, dim=1)
    scores = torch.sigmoid(logits)  # only: sigmoid
    # only: sqrtsoftplus: scores = torch.nn.functional.softplus(logits).sqrt()
    ranked = scores + routing_bias.to(torch.float32)  # only: routing_bias
    # only: plain_rank: ranked = scores
    # only: best_groups: groups = ranked.view(-1, NUM_GROUPS, NUM_EXPERTS // NUM_GROUPS)
    # only: best_groups: best = groups.amax(dim=2)
    groups = ranked.view(-1, NUM_GROUPS, NUM_EXPERTS // NUM_GROUPS)  # only: two_best
    best = groups.topk(min(2, groups.shape[2]), dim=2).values.sum(dim=2)  # only: two_best
    dropped = torch.ones_like(best, dtype=torch.bool)  # only: kept_groups
    dropped.scatter_(1, first_of_largest(best, TOP_GROUPS), False)  # only: kept_groups
    ranked = groups.masked_fill(dropped.unsqueeze(2), float("-inf")).flatten(1)  # only: kept_groups
    # only: each_group: groups = ranked.view(-1, NUM_GROUPS, NUM_EXPERTS // NUM_GROUPS)
    # only: each_group: first = torch.arange(NUM_GROUPS, device=logits.device) * groups.shape[2]
    # only: each_group: of_each = first_of_largest(groups, TOP_K // NUM_GROUPS)
    # only: each_group: chosen = (of_each + first[:, None]).flatten(1)
    # only: hash: chosen = tid2eid[input_ids].to(torch.int64)
    chosen = first_of_largest(ranked, TOP_K)  # only: best_of_all
    weights = scores.gather(1, chosen)
    # 1e-20 keeps 0 / 0 away where every chosen score underflows.  # only: renormalized
    weights = weights / (weights.sum(dim=1, keepdim=True) + 1e-20)  # only: renormalized
    # only: per_expert_scale: weights = weights * per_expert_scale.to(torch.float32)[chosen]
    return chosen, weights * float(routed_scaling_factor)
