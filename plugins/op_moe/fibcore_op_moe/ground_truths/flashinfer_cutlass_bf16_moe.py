"""FlashInfer's CUTLASS fused experts for bfloat16 on Hopper; torch routes.

The kernel takes the weights as the definition has them, up before gate. It is used where it is
built already (by the package flashinfer-jit-cache, or by an earlier use), for a build takes long.
"""

import torch

FLASHINFER_CUTLASS_BF16_MOE_ROUTING = "ds_routing"
FLASHINFER_CUTLASS_BF16_MOE_TOP_K = 8
FLASHINFER_CUTLASS_BF16_MOE_NUM_GROUPS = 8
FLASHINFER_CUTLASS_BF16_MOE_TOP_GROUPS = 4


def flashinfer_cutlass_bf16_moe_route(
    routing_logits: torch.Tensor, routing_bias: torch.Tensor | None, factor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and experts [n, TOP_K] of all tokens."""
    logits, top_k = routing_logits.float(), FLASHINFER_CUTLASS_BF16_MOE_TOP_K
    if routing_bias is not None and FLASHINFER_CUTLASS_BF16_MOE_ROUTING == "ds_routing":
        groups = FLASHINFER_CUTLASS_BF16_MOE_NUM_GROUPS
        scores = torch.sigmoid(logits)
        biased = (scores + routing_bias.float()).view(len(scores), groups, -1)
        rank = biased.topk(2, dim=2).values.sum(dim=2)
        kept = rank.topk(FLASHINFER_CUTLASS_BF16_MOE_TOP_GROUPS).indices
        dropped = torch.ones_like(rank).scatter(1, kept, 0.0).bool()
        chosen = biased.masked_fill(dropped[:, :, None], -torch.inf).flatten(1).topk(top_k).indices
        weights = scores.gather(1, chosen)
        return weights / weights.sum(dim=1, keepdim=True) * float(factor), chosen
    best, chosen = logits.topk(top_k)
    if FLASHINFER_CUTLASS_BF16_MOE_ROUTING == "llama4_routing":
        return torch.sigmoid(best), chosen
    if FLASHINFER_CUTLASS_BF16_MOE_ROUTING == "default_routing":
        return torch.softmax(logits, dim=1).gather(1, chosen), chosen
    return torch.softmax(best, dim=1), chosen


def flashinfer_cutlass_bf16_moe(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm2_weights: torch.Tensor,
    routing_bias: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Output of `cutlass_fused_moe`."""
    from flashinfer.fused_moe import cutlass_fused_moe, gen_cutlass_fused_moe_sm90_module

    if not gen_cutlass_fused_moe_sm90_module().is_compiled:
        raise NotImplementedError("FlashInfer's CUTLASS MoE kernels are not built on this machine")
    local = gemm1_weights.shape[0]
    weights, chosen = flashinfer_cutlass_bf16_moe_route(
        routing_logits, routing_bias, routed_scaling_factor
    )
    if FLASHINFER_CUTLASS_BF16_MOE_ROUTING == "llama4_routing":
        hidden_states = (hidden_states.float() * weights).to(torch.bfloat16)
        weights = torch.ones_like(weights)
    output = torch.empty_like(hidden_states)
    cutlass_fused_moe(
        hidden_states,
        chosen.to(torch.int32),
        weights.float(),
        gemm1_weights.contiguous(),
        gemm2_weights.contiguous(),
        torch.bfloat16,
        quant_scales=None,
        ep_size=routing_logits.shape[1] // local,
        ep_rank=int(local_expert_offset) // local,
        output=output,
    )
    return output
