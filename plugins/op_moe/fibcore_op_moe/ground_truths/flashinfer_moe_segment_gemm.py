"""FlashInfer's kernels one after the other: routing, segment GEMM, activation, segment GEMM.

For GPUs on which no fused kernel of FlashInfer does it. The segment GEMM takes bfloat16, so
weights of eight bits of the experts that were chosen are dequantised, a few experts at a time.
"""

import torch

FLASHINFER_MOE_SEGMENT_GEMM_ROUTING = "ds_routing"
FLASHINFER_MOE_SEGMENT_GEMM_TOP_K = 8
FLASHINFER_MOE_SEGMENT_GEMM_NUM_GROUPS = 8
FLASHINFER_MOE_SEGMENT_GEMM_TOP_GROUPS = 4
# FlashInfer's function between the products.
FLASHINFER_MOE_SEGMENT_GEMM_ACTIVATION = "silu_and_mul"
# Whether FlashInfer's routing kernel is made for these numbers; torch routes where it is not.
FLASHINFER_MOE_SEGMENT_GEMM_ROUTES = True
# Bytes of bfloat16 weights that are held at a time.
FLASHINFER_MOE_SEGMENT_GEMM_BYTES = 2 << 30


def flashinfer_moe_segment_gemm_route(
    routing_logits: torch.Tensor, routing_bias: torch.Tensor | None, factor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and experts [n, TOP_K] of all tokens."""
    top_k = FLASHINFER_MOE_SEGMENT_GEMM_TOP_K
    logits = routing_logits.float()
    if routing_bias is not None and FLASHINFER_MOE_SEGMENT_GEMM_ROUTING == "ds_routing":
        groups = FLASHINFER_MOE_SEGMENT_GEMM_NUM_GROUPS
        kept = FLASHINFER_MOE_SEGMENT_GEMM_TOP_GROUPS
        if FLASHINFER_MOE_SEGMENT_GEMM_ROUTES:
            from flashinfer.fused_moe import fused_topk_deepseek

            weights = torch.empty(logits.shape[0], top_k, device=logits.device)
            chosen = torch.empty_like(weights, dtype=torch.int32)
            fused_topk_deepseek(
                logits, routing_bias.float(), groups, kept, top_k, float(factor), weights, chosen
            )
            return weights, chosen.long()
        scores = torch.sigmoid(logits)
        biased = (scores + routing_bias.float()).view(len(scores), groups, -1)
        rank = biased.topk(2, dim=2).values.sum(dim=2)
        dropped = torch.ones_like(rank).scatter(1, rank.topk(kept).indices, 0.0).bool()
        biased = biased.masked_fill(dropped[:, :, None], -torch.inf).flatten(1)
        chosen = biased.topk(top_k).indices
        weights = scores.gather(1, chosen)
        return weights / weights.sum(dim=1, keepdim=True) * float(factor), chosen
    best, chosen = logits.topk(top_k)
    if FLASHINFER_MOE_SEGMENT_GEMM_ROUTING == "llama4_routing":
        return torch.sigmoid(best), chosen
    if FLASHINFER_MOE_SEGMENT_GEMM_ROUTING == "default_routing":
        return torch.softmax(logits, dim=1).gather(1, chosen), chosen
    return torch.softmax(best, dim=1), chosen


def flashinfer_moe_segment_gemm(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm2_weights: torch.Tensor,
    routing_bias: torch.Tensor | None = None,
    hidden_states_scale: torch.Tensor | None = None,
    gemm1_weights_scale: torch.Tensor | None = None,
    gemm2_weights_scale: torch.Tensor | None = None,
    output1_scales_scalar: torch.Tensor | None = None,
    output1_scales_gate_scalar: torch.Tensor | None = None,
    output2_scales_scalar: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Weighted sum over the experts of this rank, in bfloat16."""
    from flashinfer import activation
    from flashinfer.gemm import SegmentGEMMWrapper

    activate = getattr(activation, FLASHINFER_MOE_SEGMENT_GEMM_ACTIVATION)
    count, inner = gemm1_weights.shape[0], gemm2_weights.shape[2]
    device = hidden_states.device
    weights, chosen = flashinfer_moe_segment_gemm_route(
        routing_logits, routing_bias, routed_scaling_factor
    )

    def dequantised(values: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        values = values.float()
        if scales is not None and scales.dim() == 1:
            values = values * scales[:, None]
        elif scales is not None:
            rows, columns = scales.shape
            blocks = values.view(rows, values.shape[0] // rows, columns, values.shape[1] // columns)
            blocks.mul_(scales[:, None, :, None])
        return values

    def first(expert: int) -> torch.Tensor:
        scales = None if gemm1_weights_scale is None else gemm1_weights_scale[expert]
        both = dequantised(gemm1_weights[expert], scales)
        if output1_scales_gate_scalar is not None:
            both *= output1_scales_gate_scalar[expert]
        return both.to(torch.bfloat16)

    def second(expert: int) -> torch.Tensor:
        scales = None if gemm2_weights_scale is None else gemm2_weights_scale[expert]
        down = dequantised(gemm2_weights[expert], scales)
        if output1_scales_scalar is not None and output1_scales_gate_scalar is not None:
            down *= output1_scales_scalar[expert] / output1_scales_gate_scalar[expert]
        if output2_scales_scalar is not None:
            down *= output2_scales_scalar[expert]
        return down.to(torch.bfloat16)

    x = hidden_states.float()
    if hidden_states_scale is not None and hidden_states_scale.dim() == 1:
        x = x * hidden_states_scale[:, None]
    elif hidden_states_scale is not None:
        blocks = len(hidden_states_scale)
        x.view(len(x), blocks, x.shape[1] // blocks).mul_(hidden_states_scale.T[:, :, None])
    output = torch.zeros_like(x)
    # Pairs of token and expert of this rank, sorted by expert: a segment for each expert.
    local = chosen - int(local_expert_offset)
    token, slot = torch.nonzero((local >= 0) & (local < count), as_tuple=True)
    if token.numel() == 0:
        return output.to(torch.bfloat16)
    order = torch.argsort(local[token, slot], stable=True)
    token, slot = token[order], slot[order]
    experts, lengths = torch.unique_consecutive(local[token, slot], return_counts=True)
    workspace = torch.empty(128 << 20, dtype=torch.int8, device=device)
    gemm = SegmentGEMMWrapper(workspace)
    held = max(1, FLASHINFER_MOE_SEGMENT_GEMM_BYTES // (6 * inner * x.shape[1]))
    start = 0
    for part, sizes in zip(experts.split(held), lengths.split(held), strict=True):
        stop = start + int(sizes.sum())
        tokens, slots = token[start:stop], slot[start:stop]
        start = stop
        indptr = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
        weight = weights[tokens, slots, None].float()
        on_input = FLASHINFER_MOE_SEGMENT_GEMM_ROUTING == "llama4_routing"
        rows = x[tokens] * weight if on_input else x[tokens]
        w1 = torch.stack([first(e) for e in part.tolist()])
        both = gemm.run(rows.to(torch.bfloat16), w1, len(part), True, seg_indptr=indptr)
        # FlashInfer activates the first half; ours has the gate second.
        both = torch.cat([both[:, inner:], both[:, :inner]], dim=1)
        w2 = torch.stack([second(e) for e in part.tolist()])
        y = gemm.run(activate(both), w2, len(part), True, seg_indptr=indptr).float()
        output.index_add_(0, tokens, y if on_input else y * weight)
    return output.to(torch.bfloat16)
