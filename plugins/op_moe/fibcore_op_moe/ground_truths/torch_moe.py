"""Routed experts of every routing, format and activation, by torch in float32.

An expert after the other is dequantised and multiplies its tokens.
"""

import torch

TORCH_MOE_SCORING = "sigmoid"
TORCH_MOE_CHOICE = ""
TORCH_MOE_RENORMALIZED = True
TORCH_MOE_ON_INPUT = False
TORCH_MOE_TOP_K = 8
TORCH_MOE_NUM_GROUPS = 8
TORCH_MOE_TOP_GROUPS = 4
TORCH_MOE_ACTIVATION = "swiglu"
TORCH_MOE_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def torch_moe_scores(logits: torch.Tensor, softcap: float) -> torch.Tensor:
    """What scores the logits [n, experts]."""
    if TORCH_MOE_SCORING == "sigmoid":
        return torch.sigmoid(logits)
    if TORCH_MOE_SCORING == "sqrtsoftplus":
        return torch.sqrt(torch.nn.functional.softplus(logits))
    if TORCH_MOE_SCORING == "softcap":
        logits = softcap * torch.tanh(logits / softcap)
    return torch.softmax(logits, dim=1)


def torch_moe_chosen(ranked: torch.Tensor, biased: bool) -> torch.Tensor:
    """The experts [n, TOP_K] with the best ranks, of the groups that count."""
    groups, kept = TORCH_MOE_NUM_GROUPS, TORCH_MOE_TOP_GROUPS
    of_groups = ranked.view(len(ranked), groups, -1)
    if TORCH_MOE_CHOICE == "each_group":
        first = torch.arange(groups, device=ranked.device)[:, None] * of_groups.shape[2]
        return (of_groups.topk(TORCH_MOE_TOP_K // groups, dim=2).indices + first).flatten(1)
    if kept < groups:
        best = 2 if biased else 1
        rank = of_groups.topk(best, dim=2).values.sum(dim=2)
        dropped = torch.ones_like(rank).scatter(1, rank.topk(kept).indices, 0.0).bool()
        ranked = of_groups.masked_fill(dropped[:, :, None], -torch.inf).flatten(1)
    return ranked.topk(TORCH_MOE_TOP_K).indices


def torch_moe_mixed(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """SparseMixer's weights and experts: softmax over the logits near each chosen one."""
    left, weights, chosen = logits, [], []
    for _ in range(TORCH_MOE_TOP_K):
        best, expert = left.max(dim=1, keepdim=True)
        size = torch.maximum(logits.abs(), best)
        near = left.masked_fill(((best - logits) / size) > 0.02, -torch.inf)
        weights.append(torch.softmax(near, dim=1).gather(1, expert))
        chosen.append(expert)
        left = left.scatter(1, expert, -torch.inf)
    return torch.cat(weights, dim=1), torch.cat(chosen, dim=1)


def torch_moe_route(
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor | None,
    factor: float,
    input_ids: torch.Tensor | None,
    tid2eid: torch.Tensor | None,
    per_expert_scale: torch.Tensor | None,
    softcap: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and experts [n, TOP_K] of all tokens."""
    logits = routing_logits.float()
    if TORCH_MOE_SCORING == "sparsemixer":
        weights, chosen = torch_moe_mixed(logits)
        return weights * float(factor), chosen
    scores = torch_moe_scores(logits, softcap)
    if tid2eid is not None and input_ids is not None:
        chosen = tid2eid[input_ids].long()
    else:
        ranked = scores if routing_bias is None else scores + routing_bias.float()
        chosen = torch_moe_chosen(ranked, routing_bias is not None)
    weights = scores.gather(1, chosen)
    if TORCH_MOE_RENORMALIZED:
        weights = weights / weights.sum(dim=1, keepdim=True)
    if per_expert_scale is not None:
        weights = weights * per_expert_scale.float()[chosen]
    return weights * float(factor), chosen


def torch_moe_values(stored: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """What rows of weights or hidden states stand for, in float32.

    Their scales are for groups along a row where there are as many rows of them, for blocks where
    there are less, for whole rows where they have one dimension.
    """
    if scale is None:
        return stored.float()
    if scale.dim() == 1:
        return stored.float() * scale[:, None]
    if stored.dtype != torch.int8:
        rows, columns = scale.shape
        high, wide = stored.shape[0] // rows, stored.shape[1] // columns
        return stored.float() * scale.repeat_interleave(high, 0).repeat_interleave(wide, 1)
    bits = stored.contiguous().view(torch.uint8)
    halves = torch.stack((bits & 15, bits >> 4), dim=-1).flatten(-2)
    if scale.dtype == torch.bfloat16:
        values = ((halves.int() ^ 8) - 8).float()
    else:
        table = torch.tensor(TORCH_MOE_MAGNITUDES, device=stored.device)
        values = table[(halves & 7).long()]
        values = torch.where(halves > 7, -values, values)
    factors = scale.float()
    if scale.dtype == torch.int8:
        factors = torch.exp2(scale.contiguous().view(torch.uint8).float() - 127)
    return values * factors.repeat_interleave(values.shape[1] // scale.shape[1], dim=1)


def torch_moe_activated(
    both: torch.Tensor, alpha: torch.Tensor | None, limit: torch.Tensor | None
) -> torch.Tensor:
    """What an expert computes of its first product, up before gate."""
    name = TORCH_MOE_ACTIVATION
    functional = torch.nn.functional
    if name == "relu2":
        return both.clamp(min=0) ** 2
    if name in ("silu", "gelu_alone"):
        return functional.silu(both) if name == "silu" else functional.gelu(both)
    up, gate = both.chunk(2, dim=1)
    a = 1.0 if alpha is None else float(alpha)
    if limit is not None and name.startswith("swiglu"):
        up = up.clamp(-float(limit), float(limit))
        if name != "swiglu_step":
            gate = gate.clamp(max=float(limit))
    if name == "swiglu_oai":
        return (up + 1) * gate * torch.sigmoid(a * gate)
    if name == "swiglu_step" and limit is not None:
        return up * functional.silu(gate).clamp(max=float(limit))
    if name.startswith("gelu"):
        return up * functional.gelu(gate, approximate="tanh" if name == "gelu_tanh" else "none")
    if name.startswith("situ"):
        up = up if limit is None else float(limit) * torch.tanh(up / float(limit))
        return up * a * torch.tanh(gate / a) * torch.sigmoid(gate)
    return up * functional.silu(gate)


def torch_moe(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm2_weights: torch.Tensor,
    gemm1_weights_scale: torch.Tensor | None = None,
    gemm2_weights_scale: torch.Tensor | None = None,
    gemm1_bias: torch.Tensor | None = None,
    gemm1_alpha: torch.Tensor | None = None,
    gemm1_clamp_limit: torch.Tensor | None = None,
    gemm2_bias: torch.Tensor | None = None,
    hidden_states_scale: torch.Tensor | None = None,
    output1_scales_scalar: torch.Tensor | None = None,
    output1_scales_gate_scalar: torch.Tensor | None = None,
    output2_scales_scalar: torch.Tensor | None = None,
    output1_scale_scalar: torch.Tensor | None = None,
    output1_scale_gate_scalar: torch.Tensor | None = None,
    output2_scale_scalar: torch.Tensor | None = None,
    routing_bias: torch.Tensor | None = None,
    input_ids: torch.Tensor | None = None,
    tid2eid: torch.Tensor | None = None,
    per_expert_scale: torch.Tensor | None = None,
    router_logit_softcap: float = 1.0,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Output [seq_len, hidden_size] in bfloat16."""
    bias = None if TORCH_MOE_ON_INPUT else routing_bias
    softcap = float(router_logit_softcap)
    weights, chosen = torch_moe_route(
        routing_logits, bias, routed_scaling_factor, input_ids, tid2eid, per_expert_scale, softcap
    )
    shape = (hidden_states.shape[0], gemm2_weights.shape[1])
    output = hidden_states.new_zeros(shape, dtype=torch.float32)
    scale = hidden_states_scale
    if scale is not None and scale.dim() == 2 and hidden_states.dtype != torch.int8:
        scale = scale.T  # of blocks, which stand before the tokens
    states = torch_moe_values(hidden_states, scale)
    up_scale = output1_scales_scalar if output1_scale_scalar is None else output1_scale_scalar
    whole = output1_scales_gate_scalar
    whole = output1_scale_gate_scalar if whole is None else whole
    last = output2_scales_scalar if output2_scale_scalar is None else output2_scale_scalar
    for expert in range(gemm1_weights.shape[0]):
        token, slot = torch.nonzero(chosen == expert + int(local_expert_offset), as_tuple=True)
        if not len(token):
            continue

        def own(values: torch.Tensor | None, expert: int = expert) -> torch.Tensor | None:
            return None if values is None else values[expert]

        x, weight = states[token], weights[token, slot, None]
        x = x * weight if TORCH_MOE_ON_INPUT else x
        both = x @ torch_moe_values(gemm1_weights[expert], own(gemm1_weights_scale)).T
        if whole is not None:
            both = both * whole[expert]
        if gemm1_bias is not None:
            both = both + gemm1_bias[expert]
        inside = torch_moe_activated(both, own(gemm1_alpha), own(gemm1_clamp_limit))
        y = inside @ torch_moe_values(gemm2_weights[expert], own(gemm2_weights_scale)).T
        if up_scale is not None and whole is not None and last is not None:
            y = y * (up_scale[expert] / whole[expert] * last[expert])
        elif last is not None:
            y = y * last[expert]
        if gemm2_bias is not None:
            y = y + gemm2_bias[expert]
        output.index_add_(0, token, y if TORCH_MOE_ON_INPUT else y * weight)
    return output.to(torch.bfloat16)
