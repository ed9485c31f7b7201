"""Routed experts with bfloat16 weights.

For every token, the router chooses experts among all of them and weighs them; every chosen expert
that this rank holds computes

    up, gate = x W1_up^T, x W1_gate^T        (gemm1_weights stacks up first, then gate)
    y = (up * silu(gate)) W2^T

and the token's output is the weighted sum of the y, which is rounded once. Products and
sums are float32; on a GPU tensor cores multiply bfloat16 numbers, which is exact, and sum in
float32. A float32 number goes there as two bfloat16 ones, which have 16 of its bits.
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
# The routing weight multiplies an expert's input instead of its output.  # only: llama4_routing
# only: llama4_routing: WEIGHT_ON_INPUT = True
# Sizes of the pieces of work, which bound the memory; no result depends on them.
TOKEN_CHUNK = 4096
INTERMEDIATE_CHUNK = 2048
# On a GPU small experts are multiplied together, of about so many weights in all.
WEIGHTS_AT_ONCE = 67108864


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


def on_tensor_cores(x: torch.Tensor) -> bool:
    """Whether bfloat16 numbers can be multiplied exactly and summed in float32."""
    return x.is_cuda and "out_dtype" in (torch.bmm.__doc__ or "")


def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two bfloat16 parts whose sum is the float32 number x to 16 bits."""
    high = x.to(torch.bfloat16)
    return high, (x - high).to(torch.bfloat16)


def product(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply x [e, n, k] and the transposed weights [e, m, k]: [e, n, m] in float32."""
    if not on_tensor_cores(x):
        return x.to(torch.float32) @ weights.to(torch.float32).mT
    if x.dtype == torch.bfloat16:
        return torch.bmm(x, weights.mT, out_dtype=torch.float32)
    both = torch.bmm(torch.cat(halves(x), dim=1), weights.mT, out_dtype=torch.float32)
    return both[:, : x.shape[1]] + both[:, x.shape[1] :]


def apply_experts(
    x: torch.Tensor,
    gemm1: torch.Tensor,
    gemm2: torch.Tensor,
) -> torch.Tensor:
    """What e experts make of n tokens each, x [e, n, HIDDEN_SIZE], in float32."""
    result = x.new_zeros(x.shape, dtype=torch.float32)
    for start in range(0, INTERMEDIATE_SIZE, INTERMEDIATE_CHUNK):
        stop = min(start + INTERMEDIATE_CHUNK, INTERMEDIATE_SIZE)
        up = product(x, gemm1[:, :INTERMEDIATE_SIZE][:, start:stop])
        gate = product(x, gemm1[:, INTERMEDIATE_SIZE:][:, start:stop])
        hidden = up * torch.nn.functional.silu(gate)
        result += product(hidden, gemm2[:, :, start:stop])
    return result


def sort_by_expert(local: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pairs of a token and an expert, in the order of the experts.

    Takes the experts [n, TOP_K] of n tokens. Returns the sorted experts [n * TOP_K], the numbers
    token * TOP_K + slot of their pairs, and where each expert starts [NUM_LOCAL_EXPERTS + 1].
    NUM_LOCAL_EXPERTS stands for all experts of other ranks.  # only: remote_experts
    """
    experts, order = torch.sort(local.flatten(), stable=True)
    each = torch.arange(NUM_LOCAL_EXPERTS + 1, device=local.device)
    return experts, order, torch.searchsorted(experts, each)


def weighted_sum(y: torch.Tensor, order: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sum over the experts [n, TOP_K] of each token, weighted: [n, HIDDEN_SIZE] in float32.

    Row i of y belongs to the pair order[i].
    The last row belongs to all pairs of other ranks.  # only: remote_experts
    """
    rows = torch.empty_like(order)
    rows[order] = torch.arange(len(order), device=order.device)
    rows = rows.clamp(max=len(y) - 1)  # only: remote_experts
    rows = rows.view(weights.shape)
    total = y.new_zeros((len(weights), HIDDEN_SIZE))
    for slot in range(TOP_K):  # one after the other: the order of the sum is always the same
        total += y[rows[:, slot]] * weights[:, slot, None]  # except: llama4_routing
        # only: llama4_routing: total += y[rows[:, slot]]
    return total


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

    first_local = int(local_expert_offset)  # only: remote_experts
    output = torch.empty((seq_len, HIDDEN_SIZE), dtype=torch.bfloat16, device=hidden_states.device)
    at_once = 1
    if hidden_states.is_cuda:  # where starting a product costs more than the rows that fill up x
        at_once = max(1, WEIGHTS_AT_ONCE // (3 * INTERMEDIATE_SIZE * HIDDEN_SIZE))
    for start in range(0, seq_len, TOKEN_CHUNK):
        tokens = slice(start, start + TOKEN_CHUNK)
        chosen, weights = route(
            routing_logits[tokens],
            routing_bias,  # only: ds_routing
            routed_scaling_factor,  # only: ds_routing
        )
        local = chosen - first_local  # only: remote_experts
        here = (local >= 0) & (local < NUM_LOCAL_EXPERTS)  # only: remote_experts
        local = local.masked_fill(~here, NUM_LOCAL_EXPERTS)  # only: remote_experts
        experts, order, starts = sort_by_expert(local)  # only: remote_experts
        # except: remote_experts: experts, order, starts = sort_by_expert(chosen)
        bounds = starts.tolist()
        hidden = hidden_states[tokens]
        # One row a pair, and one of zeros for all the pairs of other ranks.  # only: remote_experts
        y = hidden.new_zeros((bounds[-1] + 1, HIDDEN_SIZE), dtype=torch.float32)  # only: remote_experts
        # except: remote_experts: y = hidden.new_empty((len(order), HIDDEN_SIZE), dtype=torch.float32)
        for first in range(0, NUM_LOCAL_EXPERTS, at_once):
            last = min(first + at_once, NUM_LOCAL_EXPERTS)
            pairs = slice(bounds[first], bounds[last])
            most = max(bounds[e + 1] - bounds[e] for e in range(first, last))
            if most == 0:
                continue
            rows = hidden[order[pairs] // TOP_K]
            # only: llama4_routing: rows = rows * weights.flatten()[order[pairs], None]
            # As many rows for each expert as one of them has at most; 0 where there are less.
            x = rows.new_zeros((last - first, most, HIDDEN_SIZE))
            number = torch.arange(bounds[first], bounds[last], device=order.device)
            place = experts[pairs] - first, number - starts[experts[pairs]]
            x[place] = rows
            outputs = apply_experts(
                x,
                gemm1_weights[first:last],
                gemm2_weights[first:last],
            )
            y[pairs] = outputs[place]
        output[tokens] = weighted_sum(y, order, weights)
    return output
