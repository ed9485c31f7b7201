"""Experts whose weights of four bits have scales for groups, by torch in float32.

An expert after the other is dequantised and multiplies its tokens.
"""

import torch

TORCH_MOE_ROUTING = "ds_routing"
TORCH_MOE_TOP_K = 8
TORCH_MOE_NUM_GROUPS = 8
TORCH_MOE_TOP_GROUPS = 4
TORCH_MOE_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def torch_moe_route(
    routing_logits: torch.Tensor, routing_bias: torch.Tensor | None, factor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and experts [n, TOP_K] of all tokens."""
    logits, top_k = routing_logits.float(), TORCH_MOE_TOP_K
    if routing_bias is not None and TORCH_MOE_ROUTING == "ds_routing":
        groups = TORCH_MOE_NUM_GROUPS
        scores = torch.sigmoid(logits)
        biased = (scores + routing_bias.float()).view(len(scores), groups, -1)
        rank = biased.topk(2, dim=2).values.sum(dim=2)
        kept = rank.topk(TORCH_MOE_TOP_GROUPS).indices
        dropped = torch.ones_like(rank).scatter(1, kept, 0.0).bool()
        chosen = biased.masked_fill(dropped[:, :, None], -torch.inf).flatten(1).topk(top_k).indices
        weights = scores.gather(1, chosen)
        return weights / weights.sum(dim=1, keepdim=True) * float(factor), chosen
    best, chosen = logits.topk(top_k)
    if TORCH_MOE_ROUTING == "llama4_routing":
        return torch.sigmoid(best), chosen
    if TORCH_MOE_ROUTING == "default_routing":
        return torch.softmax(logits, dim=1).gather(1, chosen), chosen
    return torch.softmax(best, dim=1), chosen


def torch_moe_values(packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """What rows of four bits stand for, in float32; scales of int8 are exponents."""
    table = torch.tensor(TORCH_MOE_MAGNITUDES, device=packed.device)
    bits = packed.contiguous().view(torch.uint8)
    halves = torch.stack((bits & 15, bits >> 4), dim=-1).flatten(-2)
    values = table[(halves & 7).long()]
    values = torch.where(halves > 7, -values, values)
    factors = scale.float()
    if scale.dtype == torch.int8:
        factors = torch.exp2(scale.contiguous().view(torch.uint8).float() - 127)
    return values * factors.repeat_interleave(values.shape[1] // scale.shape[1], dim=1)


def torch_moe(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm1_weights_scale: torch.Tensor,
    gemm2_weights: torch.Tensor,
    gemm2_weights_scale: torch.Tensor,
    gemm1_bias: torch.Tensor | None = None,
    gemm1_alpha: torch.Tensor | None = None,
    gemm1_clamp_limit: torch.Tensor | None = None,
    gemm2_bias: torch.Tensor | None = None,
    hidden_states_scale: torch.Tensor | None = None,
    output1_scale_scalar: torch.Tensor | None = None,
    output1_scale_gate_scalar: torch.Tensor | None = None,
    output2_scale_scalar: torch.Tensor | None = None,
    routing_bias: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Output [seq_len, hidden_size] in bfloat16."""
    weights, chosen = torch_moe_route(routing_logits, routing_bias, routed_scaling_factor)
    shape = (hidden_states.shape[0], gemm2_weights.shape[1])
    output = hidden_states.new_zeros(shape, dtype=torch.float32)
    states = hidden_states
    if hidden_states_scale is not None:
        states = torch_moe_values(hidden_states, hidden_states_scale)
    on_input = TORCH_MOE_ROUTING == "llama4_routing"
    for expert in range(gemm1_weights.shape[0]):
        token, slot = torch.nonzero(chosen == expert + int(local_expert_offset), as_tuple=True)
        if not len(token):
            continue
        x, weight = states[token].float(), weights[token, slot, None]
        x = x * weight if on_input else x
        both = x @ torch_moe_values(gemm1_weights[expert], gemm1_weights_scale[expert]).T
        if output1_scale_gate_scalar is not None:
            both = both * output1_scale_gate_scalar[expert]
        if gemm1_bias is not None:
            both = both + gemm1_bias[expert]
        up, gate = both.chunk(2, dim=1)
        if gemm1_alpha is not None and gemm1_clamp_limit is not None:
            limit = float(gemm1_clamp_limit[expert])
            gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
            inside = (up + 1) * gate * torch.sigmoid(gemm1_alpha[expert] * gate)
        else:
            inside = up * torch.nn.functional.silu(gate)
        y = inside @ torch_moe_values(gemm2_weights[expert], gemm2_weights_scale[expert]).T
        if output1_scale_scalar is not None and output1_scale_gate_scalar is not None:
            y = y * (output1_scale_scalar[expert] / output1_scale_gate_scalar[expert])
        if output2_scale_scalar is not None:
            y = y * output2_scale_scalar[expert]
        if gemm2_bias is not None:
            y = y + gemm2_bias[expert]
        output.index_add_(0, token, y if on_input else y * weight)
    return output.to(torch.bfloat16)
