"""Routed experts with fp8 weights and activations that have one scale a tensor.

For every token, the router chooses experts and weighs them; every chosen expert e computes, on
the raw fp8 values taken as numbers and in float32,

    up   = x W1_up^T * output1_scales_scalar[e]         (gemm1_weights stacks up first, then gate)
    gate = x W1_gate^T * output1_scales_gate_scalar[e]
    y    = ((up * silu(gate)) W2^T) * output2_scales_scalar[e]

and the token's output is the weighted sum of the y. With s_x, s_1, s_h, s_2 for the scales of the
activations, the first weight, the intermediate activations and the second weight, the scalars
are s_1 s_x / s_h, s_1 s_x and s_h s_2: up * silu(gate) is in units of s_h, as a kernel that
stores it in fp8 needs it. It is not rounded to fp8 here. Products and sums are float32; on a GPU
tensor cores multiply bfloat16 numbers, which is exact, and sum in float32. A float32 number goes
there as two bfloat16 ones, which have 16 of its bits.
"""

import torch

from fibcore_op_moe.references.fp8_block_scale import (
    exact_product,
    first_of_largest,
    groups,
    on_tensor_cores,
    product_of_halves,
)

NUM_LOCAL_EXPERTS = 8
HIDDEN_SIZE = 4096
INTERMEDIATE_SIZE = 14336
TOP_K = 2
# Sizes of the pieces of work, which bound the memory; no result depends on them.
TOKEN_CHUNK = 4096
# Of the intermediate size, which is whole on tensor cores.
INTERMEDIATE_CHUNK = 512
# On tensor cores several experts are multiplied together, of at most so many weights and rows.
WEIGHTS_AT_ONCE = 2**29
ROWS_AT_ONCE = 8192
# Tensor cores round sums towards zero, so long sums are made of shorter ones, of so many products.
SUMMED_AT_ONCE = 2048


def route(routing_logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The TOP_K largest logits; softmax over those alone gives the weights.

    The same as softmax over all experts, the TOP_K largest, divided by their sum.
    Returns experts [n, TOP_K] and weights [n, TOP_K].
    """
    logits = routing_logits.to(torch.float32)
    chosen = first_of_largest(logits, TOP_K)
    return chosen, torch.softmax(logits.gather(1, chosen), dim=1)


def product(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply x [e, n, k] and the transposed weights [e, m, k]: [e, n, m] in float32."""
    if not on_tensor_cores(x):
        return torch.bmm(x, weights.to(torch.float32).mT)
    weights = weights.to(torch.bfloat16)  # exact, as every fp8 number is
    if x.dtype == torch.bfloat16:
        return exact_product(x, weights)
    return product_of_halves(x, weights)


def apply_experts(
    x: torch.Tensor,
    gemm1: torch.Tensor,
    up_scale: torch.Tensor,
    gate_scale: torch.Tensor,
    gemm2: torch.Tensor,
    output_scale: torch.Tensor,
) -> torch.Tensor:
    """What e experts with scales [e, 1, 1] make of x [e, n, HIDDEN_SIZE], in float32."""
    result = x.new_zeros(x.shape, dtype=torch.float32)
    piece = INTERMEDIATE_SIZE if on_tensor_cores(x) else INTERMEDIATE_CHUNK
    for start in range(0, INTERMEDIATE_SIZE, piece):
        stop = min(start + piece, INTERMEDIATE_SIZE)
        up = product(x, gemm1[:, :INTERMEDIATE_SIZE][:, start:stop])
        gate = product(x, gemm1[:, INTERMEDIATE_SIZE:][:, start:stop])
        hidden = up * up_scale * torch.nn.functional.silu(gate * gate_scale)
        result += product(hidden, gemm2[:, :, start:stop])
    return result * output_scale


def sort_by_expert(local: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pairs of a token and an expert, in the order of the experts.

    Takes the experts [n, TOP_K] of n tokens. Returns the sorted experts [n * TOP_K], the numbers
    token * TOP_K + slot of their pairs, and where each expert starts [NUM_LOCAL_EXPERTS + 1].
    """
    experts, order = torch.sort(local.flatten(), stable=True)
    each = torch.arange(NUM_LOCAL_EXPERTS + 1, device=local.device)
    return experts, order, torch.searchsorted(experts, each)


def weighted_sum(y: torch.Tensor, order: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sum over the experts [n, TOP_K] of each token, weighted: [n, HIDDEN_SIZE] in float32.

    Row i of y belongs to the pair order[i]. The order of the sum is always the same.
    """
    each = torch.arange(len(order), device=order.device)
    rows = torch.empty_like(order).scatter_(0, order, each)
    bags = rows.view(weights.shape)
    return torch.nn.functional.embedding_bag(bags, y, mode="sum", per_sample_weights=weights)  # except: llama4_routing
    # only: llama4_routing: return torch.nn.functional.embedding_bag(bags, y, mode="sum")


@torch.no_grad()
def run(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    output1_scales_scalar: torch.Tensor,
    output1_scales_gate_scalar: torch.Tensor,
    gemm2_weights: torch.Tensor,
    output2_scales_scalar: torch.Tensor,
    routing_bias: torch.Tensor,  # only: llama4_routing
) -> torch.Tensor:
    """Output [seq_len, HIDDEN_SIZE] in bfloat16."""
    seq_len = hidden_states.shape[0]
    gemm1_out_size = 2 * INTERMEDIATE_SIZE
    assert routing_logits.shape == (seq_len, NUM_LOCAL_EXPERTS)
    assert hidden_states.shape == (seq_len, HIDDEN_SIZE)
    assert gemm1_weights.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size, HIDDEN_SIZE)
    assert gemm2_weights.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE, INTERMEDIATE_SIZE)
    assert output1_scales_scalar.shape == (NUM_LOCAL_EXPERTS,)
    assert output1_scales_gate_scalar.shape == (NUM_LOCAL_EXPERTS,)
    assert output2_scales_scalar.shape == (NUM_LOCAL_EXPERTS,)
    # FlashInfer's kernel takes a bias and does not read it.  # only: llama4_routing
    assert routing_bias.shape == (NUM_LOCAL_EXPERTS,)  # only: llama4_routing

    output = torch.empty((seq_len, HIDDEN_SIZE), dtype=torch.bfloat16, device=hidden_states.device)
    at_once, dtype = 1, torch.float32
    if on_tensor_cores(hidden_states):  # where few large products take less time than many small
        at_once = max(1, WEIGHTS_AT_ONCE // (3 * INTERMEDIATE_SIZE * HIDDEN_SIZE))
        dtype = torch.bfloat16  # exact, as every fp8 number is
    for start in range(0, seq_len, TOKEN_CHUNK):
        tokens = slice(start, start + TOKEN_CHUNK)
        chosen, weights = route(routing_logits[tokens])
        experts, order, starts = sort_by_expert(chosen)
        bounds = starts.tolist()
        counts = [bounds[e + 1] - bounds[e] for e in range(NUM_LOCAL_EXPERTS)]
        hidden = hidden_states[tokens].to(dtype)
        y = hidden.new_empty((len(order), HIDDEN_SIZE), dtype=torch.float32)
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
                output1_scales_scalar[first:last, None, None],
                output1_scales_gate_scalar[first:last, None, None],
                gemm2_weights[first:last],
                output2_scales_scalar[first:last, None, None],
            )
            y[pairs] = outputs.flatten(0, 1)[slots]
        output[tokens] = weighted_sum(y, order, weights)
    return output
