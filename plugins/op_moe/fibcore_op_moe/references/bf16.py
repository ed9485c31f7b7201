"""Routed experts with bfloat16 weights.

For every token, the router chooses experts among all of them and weighs them; every chosen expert
that this rank holds computes, in float32,

    up, gate = x W1_up^T, x W1_gate^T        (gemm1_weights stacks up first, then gate)
    y = (up * silu(gate)) W2^T

and the token's output is the weighted sum of the y. Experts are converted to float32 one at a
time, only those that were chosen, and in pieces.
"""

import torch

NUM_EXPERTS = 256
NUM_LOCAL_EXPERTS = 32
HIDDEN_SIZE = 7168
INTERMEDIATE_SIZE = 2048
TOP_K = 8
NUM_GROUPS = 8  # only: ds_routing
TOP_GROUPS = 4  # only: ds_routing
ROUTING = "ds_routing"
# Whether the routing weight multiplies an expert's input instead of its output.
WEIGHT_ON_INPUT = False
# Sizes of the pieces of work, which bound the memory; no result depends on them.
TOKEN_CHUNK = 2048
INTERMEDIATE_CHUNK = 512


def first_of_largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [..., count] of the largest values; of equal ones the lower index comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices[..., :count]


def route(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor,
    routed_scaling_factor: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sigmoid scores; bias and groups decide which experts, the scores alone how much.

    A group's rank is the sum of its two best biased scores; only experts of the best TOP_GROUPS
    groups can be chosen. The weights are the chosen scores without bias, normalised to sum to
    the scaling factor. Returns experts [n, TOP_K] and weights [n, TOP_K].
    """
    scores = torch.sigmoid(routing_logits.to(torch.float32))
    biased = scores + routing_bias.to(torch.float32)
    groups = biased.view(-1, NUM_GROUPS, NUM_EXPERTS // NUM_GROUPS)
    best = groups.topk(min(2, groups.shape[2]), dim=2).values.sum(dim=2)
    dropped = torch.ones_like(best, dtype=torch.bool)
    dropped.scatter_(1, first_of_largest(best, TOP_GROUPS), False)
    biased = groups.masked_fill(dropped.unsqueeze(2), float("-inf")).flatten(1)
    chosen = first_of_largest(biased, TOP_K)
    weights = scores.gather(1, chosen)
    # 1e-20 keeps 0 / 0 away where every chosen score underflows.
    weights = weights / (weights.sum(dim=1, keepdim=True) + 1e-20)
    return chosen, weights * float(routed_scaling_factor)


def apply_expert(x: torch.Tensor, gemm1: torch.Tensor, gemm2: torch.Tensor) -> torch.Tensor:
    """What one expert makes of tokens x [n, HIDDEN_SIZE], in float32."""
    result = torch.zeros_like(x)
    for start in range(0, INTERMEDIATE_SIZE, INTERMEDIATE_CHUNK):
        stop = min(start + INTERMEDIATE_CHUNK, INTERMEDIATE_SIZE)
        up = x @ gemm1[:INTERMEDIATE_SIZE][start:stop].to(torch.float32).T
        gate = x @ gemm1[INTERMEDIATE_SIZE:][start:stop].to(torch.float32).T
        hidden = up * torch.nn.functional.silu(gate)
        result += hidden @ gemm2[:, start:stop].to(torch.float32).T
    return result


@torch.no_grad()
def run(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor,  # only: ds_routing
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm2_weights: torch.Tensor,
    local_expert_offset: int | torch.Tensor,  # only: remote_experts
    routed_scaling_factor: float | torch.Tensor,  # only: ds_routing
) -> torch.Tensor:
    """Output [seq_len, HIDDEN_SIZE] in bfloat16 of the experts that this rank holds."""
    seq_len = hidden_states.shape[0]
    gemm1_out_size = 2 * INTERMEDIATE_SIZE
    assert routing_logits.shape == (seq_len, NUM_EXPERTS)
    assert routing_bias.shape == (NUM_EXPERTS,)  # only: ds_routing
    assert hidden_states.shape == (seq_len, HIDDEN_SIZE)
    assert gemm1_weights.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size, HIDDEN_SIZE)
    assert gemm2_weights.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE, INTERMEDIATE_SIZE)

    first_local = 0  # except: remote_experts
    first_local = int(local_expert_offset)  # only: remote_experts
    output = torch.empty((seq_len, HIDDEN_SIZE), dtype=torch.bfloat16, device=hidden_states.device)
    for start in range(0, seq_len, TOKEN_CHUNK):
        tokens = slice(start, start + TOKEN_CHUNK)
        chosen, weights = route(
            routing_logits[tokens],
            routing_bias,  # only: ds_routing
            routed_scaling_factor,  # only: ds_routing
        )
        hidden = hidden_states[tokens].to(torch.float32)
        total = torch.zeros_like(hidden)
        for expert in torch.unique(chosen).tolist():
            local = expert - first_local
            if not 0 <= local < NUM_LOCAL_EXPERTS:
                continue
            rows, slots = torch.nonzero(chosen == expert, as_tuple=True)
            x, weight = hidden[rows], weights[rows, slots].unsqueeze(1)
            y = apply_expert(
                x * weight if WEIGHT_ON_INPUT else x,
                gemm1_weights[local],
                gemm2_weights[local],
            )
            total.index_add_(0, rows, y if WEIGHT_ON_INPUT else y * weight)
        output[tokens] = total.to(torch.bfloat16)
    return output
