"""FlashInfer's CuTe DSL experts for bfloat16 on Hopper (0.7.4); torch routes.

The kernel takes 32 rows of up before the 32 rows of gate that belong to them.
"""

import torch

from fibcore_op_moe.ground_truths.flashinfer_cutlass_bf16_moe import (
    FLASHINFER_CUTLASS_BF16_MOE_ROUTING as FLASHINFER_CUTE_DSL_BF16_MOE_ROUTING,
)
from fibcore_op_moe.ground_truths.flashinfer_cutlass_bf16_moe import (
    FLASHINFER_CUTLASS_BF16_MOE_TOP_K as FLASHINFER_CUTE_DSL_BF16_MOE_TOP_K,
)
from fibcore_op_moe.ground_truths.flashinfer_cutlass_bf16_moe import (
    flashinfer_cutlass_bf16_moe_route as flashinfer_cute_dsl_bf16_moe_route,
)


def flashinfer_cute_dsl_bf16_moe(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm2_weights: torch.Tensor,
    routing_bias: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Output of `cute_dsl_fused_moe_bf16`."""
    try:
        from flashinfer.fused_moe import cute_dsl_fused_moe_bf16
    except ImportError as error:
        raise NotImplementedError("this FlashInfer has no CuTe DSL MoE kernels") from error

    local, rows, hidden = gemm1_weights.shape
    weights, chosen = flashinfer_cute_dsl_bf16_moe_route(
        routing_logits, routing_bias, routed_scaling_factor
    )
    if FLASHINFER_CUTE_DSL_BF16_MOE_ROUTING == "llama4_routing":
        hidden_states = (hidden_states.float() * weights).to(torch.bfloat16)
        weights = torch.ones_like(weights)
    halves = gemm1_weights.view(local, 2, rows // 64, 32, hidden)
    output: torch.Tensor = cute_dsl_fused_moe_bf16(
        hidden_states,
        chosen.to(torch.int32),
        weights.float(),
        halves.transpose(1, 2).reshape(local, rows, hidden),
        gemm2_weights.contiguous(),
        num_experts=routing_logits.shape[1],
        top_k=FLASHINFER_CUTE_DSL_BF16_MOE_TOP_K,
        num_local_experts=local,
        local_expert_offset=int(local_expert_offset),
        # Sums over experts in float32, in one order.
        use_fused_finalize=False,
    )
    return output
