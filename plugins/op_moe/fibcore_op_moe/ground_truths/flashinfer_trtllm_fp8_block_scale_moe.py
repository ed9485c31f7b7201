"""FlashInfer's fused kernel for fp8 block-scaled experts (TensorRT-LLM, Blackwell).

It takes the weights as the definition has them: up before gate, K-major, not shuffled. Routing
methods by number: 0 softmax then top-k, 1 top-k then softmax, 2 DeepSeek-V3.
"""

import torch

FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_ROUTING = "ds_routing"
FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_TOP_K = 8
FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_NUM_GROUPS = 8
FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_TOP_GROUPS = 4


def flashinfer_trtllm_fp8_block_scale_moe(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    hidden_states_scale: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm1_weights_scale: torch.Tensor,
    gemm2_weights: torch.Tensor,
    gemm2_weights_scale: torch.Tensor,
    routing_bias: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float | None = None,
) -> torch.Tensor:
    """Output of `trtllm_fp8_block_scale_moe`."""
    from flashinfer.fused_moe import trtllm_fp8_block_scale_moe

    grouped = FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_ROUTING == "ds_routing"
    methods = {"default_routing": 0, "renorm": 1, "ds_routing": 2}
    output: torch.Tensor = trtllm_fp8_block_scale_moe(
        routing_logits=routing_logits,
        routing_bias=routing_bias,
        hidden_states=hidden_states,
        hidden_states_scale=hidden_states_scale,
        gemm1_weights=gemm1_weights.contiguous(),
        gemm1_weights_scale=gemm1_weights_scale,
        gemm2_weights=gemm2_weights.contiguous(),
        gemm2_weights_scale=gemm2_weights_scale,
        num_experts=routing_logits.shape[1],
        top_k=FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_TOP_K,
        n_group=FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_NUM_GROUPS if grouped else None,
        topk_group=FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_TOP_GROUPS if grouped else None,
        intermediate_size=gemm2_weights.shape[2],
        local_expert_offset=int(local_expert_offset),
        local_num_experts=gemm1_weights.shape[0],
        routed_scaling_factor=routed_scaling_factor,
        routing_method_type=methods[FLASHINFER_TRTLLM_FP8_BLOCK_SCALE_MOE_ROUTING],
        use_shuffled_weight=False,
        weight_layout=0,
    )
    return output
