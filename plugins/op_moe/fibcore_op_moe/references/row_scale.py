# only: per_tensor: """Routed experts with weights and activations of eight bits, and one scale for a tensor.
"""Routed experts with weights and activations of eight bits, and scales for rows.  # only: per_channel

For every token, the router chooses experts among all of them and weighs them; every chosen expert
that this rank holds computes, of the raw numbers and in float32,

    up, gate = x W1_up^T, x W1_gate^T        (gemm1_weights stacks up first, then gate)  # except: ungated
    # only: ungated: up = x W1^T
    up, gate = up * s_1_up s_x, gate * s_1_gate s_x  # only: channel_gated
    # only: channel_ungated: up = up * s_1 s_x
    # only: tensor_gated: up, gate = up * s_gate, gate * s_gate
    # only: tensor_ungated: up = up * s_gate
    h = up * silu(gate)  # only: swiglu
    # only: activated: h is what the activation makes of these
    # only: per_tensor: h = h * s_up / s_gate
    y = h W2^T * s_2  # only: per_channel
    # only: per_tensor: y = h W2^T * s_y

and the token's output is the weighted sum of the y, which is rounded once. s_x of a token and s_1  # only: per_channel
and s_2 of an output channel are its scales. Products and sums are float32; on a GPU tensor cores  # only: per_channel
# only: per_tensor: and the token's output is the weighted sum of the y, which is rounded once. With s_x, s_1, s_h, s_2
# only: per_tensor: for the scales of the activations, the first weight, the intermediate activations and the second
# only: per_tensor: weight, s_gate of an expert is s_1 s_x, s_up is s_1 s_x / s_h and s_y is s_h s_2: h is in units of
# only: per_tensor: s_h, as a kernel that stores it in eight bits needs it. It is not rounded to eight bits here.
# only: per_tensor: Products and sums are float32; on a GPU tensor cores
multiply bfloat16 numbers, as every number of eight bits is, and sum in float32. A float32 number
goes there as two bfloat16 ones, which have 16 of its bits.
"""

import torch

from fibcore_op_moe.references.fp8_block_scale import (
    exact_product,
    first_of_largest,
    groups,
    on_tensor_cores,
    product_of_halves,
    route,
    sort_by_expert,
    weighted_sum,
)

NUM_EXPERTS = 256
NUM_LOCAL_EXPERTS = 32
HIDDEN_SIZE = 7168
INTERMEDIATE_SIZE = 2048
TOP_K = 8
NUM_GROUPS = 8  # only: groups
TOP_GROUPS = 4  # only: kept_groups
# only: hash: VOCAB_SIZE = 129280
# Sizes of the pieces of work, which bound the memory; no result depends on them.
TOKEN_CHUNK = 4096
# Of the intermediate size, which is whole on tensor cores.
INTERMEDIATE_CHUNK = 512
# On tensor cores several experts are multiplied together, of at most so many weights and rows.
WEIGHTS_AT_ONCE = 2**29
ROWS_AT_ONCE = 8192
# Tensor cores round sums towards zero, so long sums are made of shorter ones, of so many products.
SUMMED_AT_ONCE = 2048


def product(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Multiply x [e, n, k] and the transposed weights [e, m, k]: [e, n, m] in float32."""
    if not on_tensor_cores(x):
        return torch.bmm(x, weights.to(torch.float32).mT)
    weights = weights.to(torch.bfloat16)
    if x.dtype == torch.bfloat16:
        return exact_product(x, weights)
    return product_of_halves(x, weights)


def apply_experts(
    x: torch.Tensor,
    x_scale: torch.Tensor,  # only: per_channel
    gemm1: torch.Tensor,
    gemm1_scale: torch.Tensor,  # only: per_channel
    # only: gemm1_alpha: alpha: torch.Tensor,
    # only: gemm1_clamp_limit: limit: torch.Tensor,
    # only: per_tensor: up_scalar: torch.Tensor,
    # only: per_tensor: gate_scalar: torch.Tensor,
    gemm2: torch.Tensor,
    gemm2_scale: torch.Tensor,  # only: per_channel
    # only: per_tensor: output_scalar: torch.Tensor,
) -> torch.Tensor:
    """What e experts make of n tokens each, x [e, n, HIDDEN_SIZE], in float32.

    A token has a scale x_scale [e, n, 1], an output channel gemm1_scale [e, 1, m].  # only: per_channel
    # only: per_tensor: Scalars are [e, 1, 1].
    """
    up_scale, gate_scale = gemm1_scale.chunk(2, dim=2)  # only: channel_gated
    # only: channel_ungated: up_scale = gemm1_scale
    result = x.new_zeros(x.shape, dtype=torch.float32)
    piece = INTERMEDIATE_SIZE if on_tensor_cores(x) else INTERMEDIATE_CHUNK
    for start in range(0, INTERMEDIATE_SIZE, piece):
        stop = min(start + piece, INTERMEDIATE_SIZE)
        up = product(x, gemm1[:, :INTERMEDIATE_SIZE][:, start:stop])
        gate = product(x, gemm1[:, INTERMEDIATE_SIZE:][:, start:stop])  # except: ungated
        up *= up_scale[:, :, start:stop] * x_scale  # only: per_channel
        gate *= gate_scale[:, :, start:stop] * x_scale  # only: channel_gated
        # only: tensor_gated: up, gate = up * gate_scalar, gate * gate_scalar
        # only: tensor_ungated: up = up * gate_scalar
        hidden = up * torch.nn.functional.silu(gate)  # only: swiglu
        # only: activated: hidden = activate(up, gate)
        # only: per_tensor: hidden *= up_scalar / gate_scalar
        result += product(hidden, gemm2[:, :, start:stop])
    return result * gemm2_scale  # only: per_channel
    # only: per_tensor: return result * output_scalar


@torch.no_grad()
def run(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor,  # only: routing_bias
    # only: hash: input_ids: torch.Tensor,
    # only: hash: tid2eid: torch.Tensor,
    # only: per_expert_scale: per_expert_scale: torch.Tensor,
    # only: router_logit_softcap: router_logit_softcap: float | torch.Tensor,
    hidden_states: torch.Tensor,
    hidden_states_scale: torch.Tensor,  # only: per_channel
    gemm1_weights: torch.Tensor,
    gemm1_weights_scale: torch.Tensor,  # only: per_channel
    # only: gemm1_alpha: gemm1_alpha: torch.Tensor,
    # only: gemm1_clamp_limit: gemm1_clamp_limit: torch.Tensor,
    # only: per_tensor: output1_scales_scalar: torch.Tensor,
    # only: per_tensor: output1_scales_gate_scalar: torch.Tensor,
    gemm2_weights: torch.Tensor,
    gemm2_weights_scale: torch.Tensor,  # only: per_channel
    # only: per_tensor: output2_scales_scalar: torch.Tensor,
    # only: unused_bias: routing_bias: torch.Tensor,
    local_expert_offset: int | torch.Tensor,  # only: remote_experts
    routed_scaling_factor: float | torch.Tensor,  # only: routed_scaling_factor
) -> torch.Tensor:
    """Output [seq_len, HIDDEN_SIZE] in bfloat16 of the experts that this rank holds."""
    seq_len = hidden_states.shape[0]
    gemm1_out_size = 2 * INTERMEDIATE_SIZE  # except: ungated
    # only: ungated: gemm1_out_size = INTERMEDIATE_SIZE
    assert routing_logits.shape == (seq_len, NUM_EXPERTS)
    assert routing_bias.shape == (NUM_EXPERTS,)  # only: routing_bias
    # only: hash: assert input_ids.shape == (seq_len,)
    # only: hash: assert tid2eid.shape == (VOCAB_SIZE, TOP_K)
    # only: per_expert_scale: assert per_expert_scale.shape == (NUM_EXPERTS,)
    assert hidden_states.shape == (seq_len, HIDDEN_SIZE)
    assert hidden_states_scale.shape == (seq_len,)  # only: per_channel
    assert gemm1_weights.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size, HIDDEN_SIZE)
    assert gemm1_weights_scale.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size)  # only: per_channel
    # only: gemm1_alpha: assert gemm1_alpha.shape == (NUM_LOCAL_EXPERTS,)
    # only: gemm1_clamp_limit: assert gemm1_clamp_limit.shape == (NUM_LOCAL_EXPERTS,)
    assert gemm2_weights.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE, INTERMEDIATE_SIZE)
    assert gemm2_weights_scale.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE)  # only: per_channel
    # only: per_tensor: assert output1_scales_scalar.shape == (NUM_LOCAL_EXPERTS,)
    # only: per_tensor: assert output1_scales_gate_scalar.shape == (NUM_LOCAL_EXPERTS,)
    # only: per_tensor: assert output2_scales_scalar.shape == (NUM_LOCAL_EXPERTS,)
    # only: unused_bias: # FlashInfer's kernel takes a bias and does not read it.
    # only: unused_bias: assert routing_bias.shape == (NUM_EXPERTS,)

    first_local = int(local_expert_offset)  # only: remote_experts
    output = torch.empty((seq_len, HIDDEN_SIZE), dtype=torch.bfloat16, device=hidden_states.device)
    at_once, dtype = 1, torch.float32
    if on_tensor_cores(hidden_states):  # where few large products take less time than many small
        at_once = max(1, WEIGHTS_AT_ONCE // (3 * INTERMEDIATE_SIZE * HIDDEN_SIZE))
        dtype = torch.bfloat16
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
        hidden = hidden_states[tokens].to(dtype)
        # One row a pair, and one of zeros for all the pairs of other ranks.  # only: remote_experts
        y = hidden.new_zeros((bounds[-1] + 1, HIDDEN_SIZE), dtype=torch.float32)  # only: remote_experts
        # except: remote_experts: y = hidden.new_empty((len(order), HIDDEN_SIZE), dtype=torch.float32)
        for first, last in groups(counts, at_once):
            pairs = slice(bounds[first], bounds[last])
            rows, slots = hidden[order[pairs] // TOP_K], slice(None)
            scales = hidden_states_scale[tokens][order[pairs] // TOP_K]  # only: per_channel
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
                scale_of_filled = scales.new_zeros(len(filled))  # only: per_channel
                scale_of_filled[slots] = scales  # only: per_channel
                scales = scale_of_filled  # only: per_channel
            outputs = apply_experts(
                rows.view(last - first, -1, HIDDEN_SIZE),
                scales.view(last - first, -1, 1),  # only: per_channel
                gemm1_weights[first:last],
                gemm1_weights_scale[first:last, None],  # only: per_channel
                # only: gemm1_alpha: gemm1_alpha[first:last, None, None],
                # only: gemm1_clamp_limit: gemm1_clamp_limit[first:last, None, None],
                # only: per_tensor: output1_scales_scalar[first:last, None, None],
                # only: per_tensor: output1_scales_gate_scalar[first:last, None, None],
                gemm2_weights[first:last],
                gemm2_weights_scale[first:last, None],  # only: per_channel
                # only: per_tensor: output2_scales_scalar[first:last, None, None],
            )
            y[pairs] = outputs.flatten(0, 1)[slots]
        output[tokens] = weighted_sum(y, order, weights)
    return output
