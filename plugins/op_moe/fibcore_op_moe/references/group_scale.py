"""Routed experts with weights of four bits, of which groups along a row share a scale.

For every token, the router chooses experts among all of them and weighs them; every chosen expert
that this rank holds computes

    up, gate = x W1_up^T + b1_up, x W1_gate^T + b1_gate    (up is stacked first, then gate)  # only: biased
    # only: unbiased: up, gate = x W1_up^T, x W1_gate^T        (gemm1_weights stacks up first, then gate)
    # only: ungated: up = x W1^T
    # only: expert_scales_gated: up, gate = up * s_gate, gate * s_gate
    # only: expert_scales_ungated: up = up * s_gate
    up, gate = up between -limit and limit, gate up to limit  # only: swiglu_oai
    h = (up + 1) * gate * sigmoid(alpha * gate)  # only: swiglu_oai
    # only: swiglu: h = up * silu(gate)
    # only: activated: h is what the activation makes of these
    # only: nvfp4: h = h * s_up / s_gate
    y = h W2^T + b2  # only: biased
    # except: biased: y = h W2^T
    # only: expert_scales: y = y * s_y

and the token's output is the weighted sum of the y, which is rounded once. A byte of the weights
# only: mxint4: holds two numbers of four bits, the first in its four lower bits, of which 8 to 15 stand for -8 to
# only: mxint4: -1. Products and sums are float32; on a GPU tensor cores
holds two numbers e2m1, the first in its four lower bits; a byte b of the scales, read without a  # only: mxfp4
sign, stands for 2^(b - 127), 255 for NaN. Products and sums are float32; on a GPU tensor cores  # only: mxfp4
# only: nvfp4: or of the hidden states holds two numbers e2m1, the first in its four lower bits. With s_x, s_1,
# only: nvfp4: s_h, s_2 for the scales of the activations, the first weight, the intermediate activations and
# only: nvfp4: the second weight, s_gate of an expert is s_1 s_x and s_up is s_1 s_x / s_h: h is in units of s_h,
# only: nvfp4: as a kernel that stores it in four bits needs it, and s_y is s_h s_2. It is not rounded to
# only: nvfp4: four bits here. Products and sums are float32; on a GPU tensor cores
# only: w4a16_nvfp4: holds two numbers e2m1, the first in its four lower bits. s_gate and s_y of an expert are the scales
# only: w4a16_nvfp4: of all its first and second weights. Products and sums are float32; on a GPU tensor cores
multiply bfloat16 numbers, which is exact, and sum in float32. A float32 number goes there as two
bfloat16 ones, which have 16 of its bits.
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
# Weights of a row that share one scale.
GROUP = 32
# Numbers e2m1 by their four bits.  # except: mxint4
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)  # except: mxint4
# only: mxint4: # Numbers by their four bits.
# only: mxint4: INT4 = (0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1)
# Sizes of the pieces of work, which bound the memory; no result depends on them.
TOKEN_CHUNK = 4096
# Of the intermediate size, which is whole on tensor cores.
INTERMEDIATE_CHUNK = 512
# On tensor cores several experts are multiplied together, of at most so many weights and rows.
WEIGHTS_AT_ONCE = 2**29
ROWS_AT_ONCE = 8192
# Tensor cores round sums towards zero, so long sums are made of shorter ones, of so many products.
SUMMED_AT_ONCE = 2048


def scaled(weights: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    # only: mxint4: """What weights [e, m, k / 2] and scales [e, m, k / GROUP] stand for, [e, m, k] in float32.
    """What weights [e, m, k / 2] and scales [e, m, k / GROUP] stand for, [e, m, k] in bfloat16.  # except: mxint4

    It has as many exponents as the scales and more bits than the numbers: nothing is rounded.  # only: mxfp4
    # only: expert_scales: It has more bits than the products: nothing is rounded.
    # only: mxint4: A product has 11 bits: nothing is rounded.
    """
    one = torch.tensor(E2M1, dtype=torch.bfloat16, device=weights.device)  # except: mxint4
    # only: mxint4: one = torch.tensor(INT4, dtype=torch.float32, device=weights.device)
    pairs = torch.stack((one.repeat(16), one.repeat_interleave(16)), dim=1)
    index = weights.view(torch.uint8).to(torch.int32)
    values = torch.nn.functional.embedding(index, pairs).flatten(2)
    # The bits of bfloat16, whose exponent they are: a byte of 0 is subnormal.  # only: mxfp4
    bits = scales.view(torch.uint8).to(torch.int16)  # only: mxfp4
    powers = (bits << 7).clamp(min=64) + ((bits == 255).to(torch.int16) << 6)  # only: mxfp4
    by_group = values.view(*scales.shape, GROUP)
    by_group.mul_(powers.view(torch.bfloat16).unsqueeze(3))  # only: mxfp4
    # only: expert_scales: by_group.mul_(scales.to(torch.bfloat16).unsqueeze(3))
    # only: mxint4: by_group.mul_(scales.unsqueeze(3))
    return values


def product(x: torch.Tensor, weights: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Multiply x [e, n, k] and the transposed weights of e experts: [e, n, m] in float32.

    Takes weights [e, m, k / 2] and their scales [e, m, k / GROUP].
    """
    whole = scaled(weights, scales)
    if not on_tensor_cores(x):
        return torch.bmm(x, whole.to(torch.float32).mT)  # except: mxint4
        # only: mxint4: return torch.bmm(x, whole.mT)
    # only: mxint4: # A bfloat16 number and what is left, which is one, too.
    # only: mxint4: high = whole.to(torch.bfloat16)
    # only: mxint4: excess = whole.sub_(high).to(torch.bfloat16)
    # only: mxint4: if x.dtype == torch.bfloat16:
    # only: mxint4:     return exact_product(x, high).add_(exact_product(x, excess))
    # only: mxint4: # Without the low half of x times the rest, which float32 rounds away from the sum.
    # only: mxint4: return product_of_halves(x, high).add_(exact_product(x.to(torch.bfloat16), excess))
    if x.dtype == torch.bfloat16:  # except: mxint4
        return exact_product(x, whole)  # except: mxint4
    return product_of_halves(x, whole)  # except: mxint4


def apply_experts(
    x: torch.Tensor,
    gemm1: torch.Tensor,
    gemm1_scale: torch.Tensor,
    gemm1_bias: torch.Tensor,  # only: biased
    alpha: torch.Tensor,  # only: gemm1_alpha
    limit: torch.Tensor,  # only: gemm1_clamp_limit
    gemm2: torch.Tensor,
    gemm2_scale: torch.Tensor,
    gemm2_bias: torch.Tensor,  # only: biased
    # only: nvfp4: up_scalar: torch.Tensor,
    # only: expert_scales: gate_scalar: torch.Tensor,
    # only: expert_scales: output_scalar: torch.Tensor,
) -> torch.Tensor:
    """What e experts make of n tokens each, x [e, n, HIDDEN_SIZE], in float32."""
    gemm1_up, gemm1_gate = gemm1.chunk(2, dim=1)  # except: ungated
    up_scale, gate_scale = gemm1_scale.chunk(2, dim=1)  # except: ungated
    # only: ungated: gemm1_up, up_scale = gemm1, gemm1_scale
    up_bias, gate_bias = gemm1_bias.unsqueeze(1).chunk(2, dim=2)  # only: biased
    result = gemm2_bias.unsqueeze(1).repeat(1, x.shape[1], 1)  # only: biased
    # except: biased: result = x.new_zeros(x.shape, dtype=torch.float32)
    piece = INTERMEDIATE_SIZE if on_tensor_cores(x) else INTERMEDIATE_CHUNK
    for start in range(0, INTERMEDIATE_SIZE, piece):
        stop = min(start + piece, INTERMEDIATE_SIZE)
        up = product(x, gemm1_up[:, start:stop], up_scale[:, start:stop])
        gate = product(x, gemm1_gate[:, start:stop], gate_scale[:, start:stop])  # except: ungated
        # only: expert_scales_gated: up, gate = up * gate_scalar, gate * gate_scalar
        # only: expert_scales_ungated: up = up * gate_scalar
        up += up_bias[:, :, start:stop]  # only: biased
        gate += gate_bias[:, :, start:stop]  # only: biased
        up, gate = torch.clamp(up, -limit, limit), torch.clamp(gate, max=limit)  # only: swiglu_oai
        hidden = (up + 1) * gate * torch.sigmoid(alpha * gate)  # only: swiglu_oai
        # only: swiglu: hidden = up * torch.nn.functional.silu(gate)
        # only: activated: hidden = activate(up, gate)
        # only: nvfp4: hidden *= up_scalar / gate_scalar
        packed, blocks = slice(start // 2, stop // 2), slice(start // GROUP, stop // GROUP)
        result += product(hidden, gemm2[:, :, packed], gemm2_scale[:, :, blocks])
    return result  # except: expert_scales
    # only: expert_scales: return result * output_scalar


@torch.no_grad()
def run(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor,  # only: routing_bias
    # only: hash: input_ids: torch.Tensor,
    # only: hash: tid2eid: torch.Tensor,
    # only: per_expert_scale: per_expert_scale: torch.Tensor,
    # only: router_logit_softcap: router_logit_softcap: float | torch.Tensor,
    hidden_states: torch.Tensor,
    # only: nvfp4: hidden_states_scale: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm1_weights_scale: torch.Tensor,
    gemm1_bias: torch.Tensor,  # only: biased
    gemm1_alpha: torch.Tensor,  # only: gemm1_alpha
    gemm1_clamp_limit: torch.Tensor,  # only: gemm1_clamp_limit
    gemm2_weights: torch.Tensor,
    gemm2_weights_scale: torch.Tensor,
    gemm2_bias: torch.Tensor,  # only: biased
    # only: nvfp4: output1_scale_scalar: torch.Tensor,
    # only: expert_scales: output1_scale_gate_scalar: torch.Tensor,
    # only: expert_scales: output2_scale_scalar: torch.Tensor,
    local_expert_offset: int | torch.Tensor,  # only: remote_experts
    routed_scaling_factor: float | torch.Tensor,  # only: routed_scaling_factor
) -> torch.Tensor:
    """Output [seq_len, HIDDEN_SIZE] in bfloat16 of the experts that this rank holds."""
    seq_len = hidden_states.shape[0]
    gemm1_out_size = 2 * INTERMEDIATE_SIZE  # except: ungated
    # only: ungated: gemm1_out_size = INTERMEDIATE_SIZE
    hidden_blocks = HIDDEN_SIZE // GROUP
    intermediate_blocks = INTERMEDIATE_SIZE // GROUP
    assert HIDDEN_SIZE % GROUP == 0
    assert INTERMEDIATE_SIZE % GROUP == 0
    assert routing_logits.shape == (seq_len, NUM_EXPERTS)
    assert routing_bias.shape == (NUM_EXPERTS,)  # only: routing_bias
    # only: hash: assert input_ids.shape == (seq_len,)
    # only: hash: assert tid2eid.shape == (VOCAB_SIZE, TOP_K)
    # only: per_expert_scale: assert per_expert_scale.shape == (NUM_EXPERTS,)
    assert hidden_states.shape == (seq_len, HIDDEN_SIZE)  # except: nvfp4
    # only: nvfp4: assert hidden_states.shape == (seq_len, HIDDEN_SIZE // 2)
    # only: nvfp4: assert hidden_states_scale.shape == (seq_len, hidden_blocks)
    assert gemm1_weights.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size, HIDDEN_SIZE // 2)
    assert gemm1_weights_scale.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size, hidden_blocks)
    assert gemm1_bias.shape == (NUM_LOCAL_EXPERTS, gemm1_out_size)  # only: biased
    assert gemm1_alpha.shape == (NUM_LOCAL_EXPERTS,)  # only: gemm1_alpha
    assert gemm1_clamp_limit.shape == (NUM_LOCAL_EXPERTS,)  # only: gemm1_clamp_limit
    assert gemm2_weights.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE, INTERMEDIATE_SIZE // 2)
    assert gemm2_weights_scale.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE, intermediate_blocks)
    assert gemm2_bias.shape == (NUM_LOCAL_EXPERTS, HIDDEN_SIZE)  # only: biased
    # only: nvfp4: assert output1_scale_scalar.shape == (NUM_LOCAL_EXPERTS,)
    # only: expert_scales: assert output1_scale_gate_scalar.shape == (NUM_LOCAL_EXPERTS,)
    # only: expert_scales: assert output2_scale_scalar.shape == (NUM_LOCAL_EXPERTS,)

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
        hidden = hidden_states[tokens].to(dtype)  # except: nvfp4
        # only: nvfp4: hidden = scaled(hidden_states[None, tokens], hidden_states_scale[None, tokens])
        # only: nvfp4: hidden = hidden[0].to(dtype)
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
                gemm1_bias[first:last],  # only: biased
                gemm1_alpha[first:last, None, None],  # only: gemm1_alpha
                gemm1_clamp_limit[first:last, None, None],  # only: gemm1_clamp_limit
                gemm2_weights[first:last],
                gemm2_weights_scale[first:last],
                gemm2_bias[first:last],  # only: biased
                # only: nvfp4: output1_scale_scalar[first:last, None, None],
                # only: expert_scales: output1_scale_gate_scalar[first:last, None, None],
                # only: expert_scales: output2_scale_scalar[first:last, None, None],
            )
            y[pairs] = outputs.flatten(0, 1)[slots]
        output[tokens] = weighted_sum(y, order, weights)
    return output
