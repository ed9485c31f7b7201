"""Routed experts with fp8 weights and activations that have one scale a tensor.

For every token, the router chooses experts and weighs them; every chosen expert e computes, on
the raw fp8 values taken as numbers and in float32,

    up   = x W1_up^T * output1_scales_scalar[e]         (gemm1_weights stacks up first, then gate)
    gate = x W1_gate^T * output1_scales_gate_scalar[e]
    y    = ((up * silu(gate)) W2^T) * output2_scales_scalar[e]

and the token's output is the weighted sum of the y. With s_x, s_1, s_h, s_2 for the scales of the
activations, the first weight, the intermediate activations and the second weight, the scalars
are s_1 s_x / s_h, s_1 s_x and s_h s_2: up * silu(gate) is in units of s_h, as a kernel that
stores it in fp8 needs it. It is not rounded to fp8 here.
Experts are converted to float32 one at a time, only those that were chosen, and in pieces.
"""

import torch

NUM_LOCAL_EXPERTS = 8
HIDDEN_SIZE = 4096
INTERMEDIATE_SIZE = 14336
TOP_K = 2
ROUTING = "renorm"
# Whether the routing weight multiplies an expert's input instead of its output.
WEIGHT_ON_INPUT = False
# Sizes of the pieces of work, which bound the memory; no result depends on them.
TOKEN_CHUNK = 2048
INTERMEDIATE_CHUNK = 512


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


def apply_expert(
    x: torch.Tensor,
    gemm1: torch.Tensor,
    up_scale: torch.Tensor,
    gate_scale: torch.Tensor,
    gemm2: torch.Tensor,
    output_scale: torch.Tensor,
) -> torch.Tensor:
    """What one expert makes of tokens x [n, HIDDEN_SIZE], in float32; the scales are scalars."""
    result = torch.zeros_like(x)
    for start in range(0, INTERMEDIATE_SIZE, INTERMEDIATE_CHUNK):
        stop = min(start + INTERMEDIATE_CHUNK, INTERMEDIATE_SIZE)
        up = x @ gemm1[:INTERMEDIATE_SIZE][start:stop].to(torch.float32).T
        gate = x @ gemm1[INTERMEDIATE_SIZE:][start:stop].to(torch.float32).T
        hidden = up * up_scale * torch.nn.functional.silu(gate * gate_scale)
        result += hidden @ gemm2[:, start:stop].to(torch.float32).T
    return result * output_scale


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
    for start in range(0, seq_len, TOKEN_CHUNK):
        tokens = slice(start, start + TOKEN_CHUNK)
        chosen, weights = route(routing_logits[tokens])
        hidden = hidden_states[tokens].to(torch.float32)
        total = torch.zeros_like(hidden)
        for expert in torch.unique(chosen).tolist():
            rows, slots = torch.nonzero(chosen == expert, as_tuple=True)
            x, weight = hidden[rows], weights[rows, slots].unsqueeze(1)
            y = apply_expert(
                x * weight if WEIGHT_ON_INPUT else x,
                gemm1_weights[expert],
                output1_scales_scalar[expert],
                output1_scales_gate_scalar[expert],
                gemm2_weights[expert],
                output2_scales_scalar[expert],
            )
            total.index_add_(0, rows, y if WEIGHT_ON_INPUT else y * weight)
        output[tokens] = total.to(torch.bfloat16)
    return output
