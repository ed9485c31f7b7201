"""Routed experts with fp8 block-scaled weights and activations.

For every token, the router chooses experts among all of them and weighs them; every chosen expert
that this rank holds computes

    up, gate = x W1_up^T, x W1_gate^T        (gemm1_weights stacks up first, then gate)  # except: ungated
    # only: ungated: up = x W1^T
    y = (up * silu(gate)) W2^T  # only: swiglu
    # only: activated: y = h W2^T        (h is what the activation makes of these)

and the token's output is the weighted sum of the y, which is rounded once. A block of 128 x 128
weights shares one scale, and so do 128 consecutive activations of one token. Products and sums are
float32; on a GPU tensor cores multiply bfloat16 numbers, which is exact, and sum in float32. A
float32 number goes there as two bfloat16 ones, which have 16 of its bits.
"""

import torch

NUM_EXPERTS = 256
NUM_LOCAL_EXPERTS = 32
HIDDEN_SIZE = 7168
INTERMEDIATE_SIZE = 2048
TOP_K = 8
NUM_GROUPS = 8  # only: groups
TOP_GROUPS = 4  # only: kept_groups
# only: hash: VOCAB_SIZE = 129280
# Side of a block that shares one scale.
BLOCK = 128
# Sizes of the pieces of work, which bound the memory; no result depends on them.
TOKEN_CHUNK = 4096
# Of the intermediate size, which is whole on tensor cores.
INTERMEDIATE_CHUNK = 512
# On tensor cores several experts are multiplied together, of at most so many weights and rows.
WEIGHTS_AT_ONCE = 2**29
ROWS_AT_ONCE = 8192
# Tensor cores round sums towards zero, so long sums are made of shorter ones, of so many products.
SUMMED_AT_ONCE = 2048


def first_of_largest(values: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [..., count] of the largest values; of equal ones the lower index comes first."""
    return torch.sort(values, dim=-1, descending=True, stable=True).indices[..., :count]


def route(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor,
    routed_scaling_factor: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sigmoid scores; biased ones decide which experts, the scores alone how much.

    A group's rank is the sum of its two best biased scores; only experts of the best TOP_GROUPS  # only: groups
    groups can be chosen.  # only: groups
    The weights are the chosen scores without bias, normalised to sum to the scaling factor.
    Returns experts [n, TOP_K] and weights [n, TOP_K].
    """
    scores = torch.sigmoid(routing_logits.to(torch.float32))
    biased = scores + routing_bias.to(torch.float32)
    groups = biased.view(-1, NUM_GROUPS, NUM_EXPERTS // NUM_GROUPS)  # only: groups
    best = groups.topk(min(2, groups.shape[2]), dim=2).values.sum(dim=2)  # only: groups
    dropped = torch.ones_like(best, dtype=torch.bool)  # only: groups
    dropped.scatter_(1, first_of_largest(best, TOP_GROUPS), False)  # only: groups
    biased = groups.masked_fill(dropped.unsqueeze(2), float("-inf")).flatten(1)  # only: groups
    chosen = first_of_largest(biased, TOP_K)
    weights = scores.gather(1, chosen)
    # 1e-20 keeps 0 / 0 away where every chosen score underflows.
    weights = weights / (weights.sum(dim=1, keepdim=True) + 1e-20)
    return chosen, weights * float(routed_scaling_factor)


def on_tensor_cores(x: torch.Tensor) -> bool:
    """Whether bfloat16 numbers can be multiplied exactly and summed in float32."""
    return x.is_cuda and "out_dtype" in (torch.bmm.__doc__ or "")


def exact_product(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply bfloat16 x [b, n, k] and weights [b, m, k], transposed: [b, n, m] in float32."""
    first = slice(SUMMED_AT_ONCE)
    total = torch.bmm(x[:, :, first], weights[:, :, first].mT, out_dtype=torch.float32)
    for start in range(SUMMED_AT_ONCE, x.shape[2], SUMMED_AT_ONCE):
        piece = slice(start, start + SUMMED_AT_ONCE)
        total += torch.bmm(x[:, :, piece], weights[:, :, piece].mT, out_dtype=torch.float32)
    return total


def product_of_halves(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply float32 x [b, n, k] and bfloat16 weights [b, m, k], transposed.

    x goes as two bfloat16 numbers, whose sum it is to 16 bits.
    """
    both = torch.empty((len(x), 2 * x.shape[1], x.shape[2]), dtype=torch.bfloat16, device=x.device)
    high, low = both.chunk(2, dim=1)
    torch.sub(x, high.copy_(x), out=low)
    of_high, of_low = exact_product(both, weights).chunk(2, dim=1)
    return of_high.add_(of_low)


def scaled(weights: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """float32 weights [e, m, k] times their scales [e, m / BLOCK, k / BLOCK], in place."""
    e, m, k = weights.shape
    blocks = weights.view(e, m // BLOCK, BLOCK, k // BLOCK, BLOCK)
    blocks.mul_(scales[:, :, None, :, None])
    return weights


def store_halves(
    x: torch.Tensor,
    scales: torch.Tensor,
    high: torch.Tensor,
    excess: torch.Tensor,
) -> None:
    """Store x * scales as bfloat16 numbers high and excess: it is high - excess to 16 bits."""
    torch.mul(x, scales, out=high)
    torch.addcmul(high, x, scales, value=-1, out=excess)


def product_of_scaled_rows(
    x: torch.Tensor,
    weights: torch.Tensor,
    scales: torch.Tensor,
) -> torch.Tensor:
    """The product where the scales go to x, once for each block of rows of the weights."""
    (e, m, k), n = weights.shape, x.shape[1]
    both = torch.empty((e, m // BLOCK, 2, n, k), dtype=torch.bfloat16, device=x.device)
    high, excess = both.view(e, m // BLOCK, 2, n, k // BLOCK, BLOCK).unbind(2)
    rows = x.reshape(e, 1, n, k // BLOCK, BLOCK)
    store_halves(rows, scales[:, :, None, :, None], high, excess)
    of_both = exact_product(both.view(-1, 2 * n, k), weights.view(-1, BLOCK, k))
    of_high, of_excess = of_both.view(e, -1, 2, n, BLOCK).unbind(2)
    return (of_high - of_excess).transpose(1, 2).reshape(e, n, m)


def product_of_scaled_weights(
    x: torch.Tensor,
    weights: torch.Tensor,
    scales: torch.Tensor,
) -> torch.Tensor:
    """The product where the scales go to the weights."""
    e, m, k = weights.shape
    by_block = (e, m // BLOCK, BLOCK, k // BLOCK, BLOCK)
    high, excess = torch.empty_like(weights), torch.empty_like(weights)
    store_halves(
        weights.view(by_block),
        scales[:, :, None, :, None],
        high.view(by_block),
        excess.view(by_block),
    )
    # Without the low half of x times the excess, which float32 rounds away from the sum.
    return product_of_halves(x, high).sub_(exact_product(x.to(torch.bfloat16), excess))


def product(x: torch.Tensor, weights: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Multiply x [e, n, k] and the transposed weights of e experts: [e, n, m] in float32.

    Takes float32 x, fp8 weights [e, m, k] and their scales [e, m / BLOCK, k / BLOCK].
    """
    # In rows one after the other, however the weights stand in memory.
    contiguous = torch.contiguous_format
    if not on_tensor_cores(x):
        whole = weights.to(torch.float32, memory_format=contiguous)
        return torch.bmm(x, scaled(whole, scales).mT)
    exact = weights.to(torch.bfloat16, memory_format=contiguous)  # as every fp8 number is
    if x.shape[1] <= BLOCK:  # scaling x takes less time
        return product_of_scaled_rows(x, exact, scales)
    return product_of_scaled_weights(x, exact, scales)


def apply_experts(
    x: torch.Tensor,
    gemm1: torch.Tensor,
    gemm1_scale: torch.Tensor,
    # only: gemm1_alpha: alpha: torch.Tensor,
    # only: gemm1_clamp_limit: limit: torch.Tensor,
    gemm2: torch.Tensor,
    gemm2_scale: torch.Tensor,
) -> torch.Tensor:
    """What e experts make of n tokens each, x [e, n, HIDDEN_SIZE], in float32."""
    up_scale, gate_scale = gemm1_scale.chunk(2, dim=1)  # except: ungated
    # only: ungated: up_scale = gemm1_scale
    result = x.new_zeros(x.shape, dtype=torch.float32)
    piece = INTERMEDIATE_SIZE if on_tensor_cores(x) else INTERMEDIATE_CHUNK
    for start in range(0, INTERMEDIATE_SIZE, piece):
        stop = min(start + piece, INTERMEDIATE_SIZE)
        blocks = slice(start // BLOCK, stop // BLOCK)
        up = product(x, gemm1[:, :INTERMEDIATE_SIZE][:, start:stop], up_scale[:, blocks])
        gate = product(x, gemm1[:, INTERMEDIATE_SIZE:][:, start:stop], gate_scale[:, blocks])  # except: ungated
        hidden = up * torch.nn.functional.silu(gate)  # only: swiglu
        # only: activated: hidden = activate(up, gate)
        result += product(hidden, gemm2[:, :, start:stop], gemm2_scale[:, :, blocks])
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


def groups(counts: list[int], at_once: int) -> list[tuple[int, int]]:
    """Experts to multiply together, as first and last + 1, of those that have rows.

    Takes the number of rows of each. All experts of a group get as many rows as one has at most.
    """
    found: list[tuple[int, int]] = []
    for expert in range(NUM_LOCAL_EXPERTS):
        if counts[expert] == 0:
            continue
        first = found[-1][0] if found else expert
        size = expert + 1 - first
        if found and size <= at_once and size * max(counts[first : expert + 1]) <= ROWS_AT_ONCE:
            found[-1] = first, expert + 1
        else:
            found.append((expert, expert + 1))
    return found


def weighted_sum(y: torch.Tensor, order: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sum over the experts [n, TOP_K] of each token, weighted: [n, HIDDEN_SIZE] in float32.

    Row i of y belongs to the pair order[i]. The order of the sum is always the same.
    The last row belongs to all pairs of other ranks.  # only: remote_experts
    """
    each = torch.arange(len(order), device=order.device)
    rows = torch.empty_like(order).scatter_(0, order, each)
    rows = rows.clamp(max=len(y) - 1)  # only: remote_experts
    bags = rows.view(weights.shape)
    return torch.nn.functional.embedding_bag(bags, y, mode="sum", per_sample_weights=weights)  # except: llama4_routing
    # only: llama4_routing: return torch.nn.functional.embedding_bag(bags, y, mode="sum")


@torch.no_grad()
def run(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor,  # only: routing_bias
    # only: hash: input_ids: torch.Tensor,
    # only: hash: tid2eid: torch.Tensor,
    # only: per_expert_scale: per_expert_scale: torch.Tensor,
    # only: router_logit_softcap: router_logit_softcap: float | torch.Tensor,
    hidden_states: torch.Tensor,
    hidden_states_scale: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm1_weights_scale: torch.Tensor,
    # only: gemm1_alpha: gemm1_alpha: torch.Tensor,
    # only: gemm1_clamp_limit: gemm1_clamp_limit: torch.Tensor,
    gemm2_weights: torch.Tensor,
    gemm2_weights_scale: torch.Tensor,
    local_expert_offset: int | torch.Tensor,  # only: remote_experts
    routed_scaling_factor: float | torch.Tensor,  # only: routed_scaling_factor
) -> torch.Tensor:
    """Output [seq_len, HIDDEN_SIZE] in bfloat16 of the experts that this rank holds."""
    seq_len = hidden_states.shape[0]
    gemm1_out_size = 2 * INTERMEDIATE_SIZE  # except: ungated
    # only: ungated: gemm1_out_size = INTERMEDIATE_SIZE
    hidden_blocks = HIDDEN_SIZE // BLOCK
    intermediate_blocks = INTERMEDIATE_SIZE // BLOCK
    assert HIDDEN_SIZE % BLOCK == 0
    assert INTERMEDIATE_SIZE % BLOCK == 0
    assert routing_logits.shape == (seq_len, NUM_EXPERTS)
    assert routing_bias.shape == (NUM_EXPERTS,)  # only: routing_bias
    # only: hash: assert input_ids.shape == (seq_len,)
    # only: hash: assert tid2eid.shape == (VOCAB_SIZE, TOP_K)
    # only: per_expert_scale: assert per_expert_scale.shape == (NUM_EXPERTS,)
    assert hidden_states.shape == (seq_len, HIDDEN_SIZE)
    assert hidden_states_scale.shape == (hidden_blocks, seq_len)
    assert gemm1_weights.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size, HIDDEN_SIZE)
    assert gemm1_weights_scale.shape == (NUM_LOCAL_EXPERTS, 2 * intermediate_blocks, hidden_blocks)  # except: ungated
    # only: ungated: assert gemm1_weights_scale.shape == (NUM_LOCAL_EXPERTS, intermediate_blocks, hidden_blocks)
    # only: gemm1_alpha: assert gemm1_alpha.shape == (NUM_LOCAL_EXPERTS,)
    # only: gemm1_clamp_limit: assert gemm1_clamp_limit.shape == (NUM_LOCAL_EXPERTS,)
    assert gemm2_weights.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE, INTERMEDIATE_SIZE)
    assert gemm2_weights_scale.shape == (NUM_LOCAL_EXPERTS, hidden_blocks, intermediate_blocks)

    first_local = int(local_expert_offset)  # only: remote_experts
    output = torch.empty((seq_len, HIDDEN_SIZE), dtype=torch.bfloat16, device=hidden_states.device)
    at_once = 1
    if on_tensor_cores(hidden_states):  # where few large products take less time than many small
        at_once = max(1, WEIGHTS_AT_ONCE // (3 * INTERMEDIATE_SIZE * HIDDEN_SIZE))
    for start in range(0, seq_len, TOKEN_CHUNK):
        tokens = slice(start, start + TOKEN_CHUNK)
        chosen, weights = route(
            routing_logits[tokens],
            routing_bias,  # only: routing_bias
            # only: hash: input_ids[tokens],
            # only: hash: tid2eid,
            # only: per_expert_scale: per_expert_scale,
            # only: router_logit_softcap: router_logit_softcap,
            routed_scaling_factor,  # only: routed_scaling_factor
        )
        local = chosen - first_local  # only: remote_experts
        here = (local >= 0) & (local < NUM_LOCAL_EXPERTS)  # only: remote_experts
        local = local.masked_fill(~here, NUM_LOCAL_EXPERTS)  # only: remote_experts
        experts, order, starts = sort_by_expert(local)  # only: remote_experts
        # except: remote_experts: experts, order, starts = sort_by_expert(chosen)
        bounds = starts.tolist()
        counts = [bounds[e + 1] - bounds[e] for e in range(NUM_LOCAL_EXPERTS)]
        hidden = hidden_states[tokens].to(torch.float32)
        hidden.view(-1, hidden_blocks, BLOCK).mul_(hidden_states_scale[:, tokens].T.unsqueeze(2))
        # One row a pair, and one of zeros for all the pairs of other ranks.  # only: remote_experts
        y = hidden.new_zeros((bounds[-1] + 1, HIDDEN_SIZE), dtype=torch.float32)  # only: remote_experts
        # except: remote_experts: y = hidden.new_empty((len(order), HIDDEN_SIZE), dtype=torch.float32)
        for first, last in groups(counts, at_once):
            pairs = slice(bounds[first], bounds[last])
            rows, slots = hidden[order[pairs] // TOP_K], slice(None)
            # The routing weight multiplies the expert's input instead of its output.  # only: llama4_routing
            # only: llama4_routing: rows = rows * weights.flatten()[order[pairs], None]
            if last - first > 1:
                # As many rows for each expert as one of them has at most; 0 where there are less.
                most, own = max(counts[first:last]), experts[pairs]
                number = torch.arange(bounds[first], bounds[last], device=own.device)
                slots = (own - first) * most + number - starts[own]
                filled = rows.new_zeros(((last - first) * most, HIDDEN_SIZE))
                filled[slots] = rows
                rows = filled
            outputs = apply_experts(
                rows.view(last - first, -1, HIDDEN_SIZE),
                gemm1_weights[first:last],
                gemm1_weights_scale[first:last],
                # only: gemm1_alpha: gemm1_alpha[first:last, None, None],
                # only: gemm1_clamp_limit: gemm1_clamp_limit[first:last, None, None],
                gemm2_weights[first:last],
                gemm2_weights_scale[first:last],
            )
            y[pairs] = outputs.flatten(0, 1)[slots]
        output[tokens] = weighted_sum(y, order, weights)
    return output
