"""FlashInfer's fused kernel for fp8 experts with one scale a tensor (TensorRT-LLM, Blackwell).

It takes the weights with up and gate rows interleaved and rows shuffled for the MMA tiles. Routing
methods by number: 0 softmax then top-k, 1 top-k then softmax, 2 DeepSeek-V3, 3 Llama 4, whose
weight goes on the expert's input.
"""

import torch

FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_ROUTING = "llama4_routing"
FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_TOP_K = 1
FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_NUM_GROUPS = 8
FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_TOP_GROUPS = 4
FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_TILE = 128


def flashinfer_trtllm_fp8_per_tensor_scale_moe_shuffled(
    weights: torch.Tensor, gated: bool
) -> torch.Tensor:
    """Weights [experts, rows, columns] in the kernel's layout; `gated` has up and gate rows."""
    from flashinfer import reorder_rows_for_gated_act_gemm, shuffle_matrix_a

    made = []
    for expert in range(weights.shape[0]):
        rows = weights[expert].contiguous().view(torch.uint8)
        if gated:
            rows = reorder_rows_for_gated_act_gemm(rows)
        made.append(shuffle_matrix_a(rows, FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_TILE))
    return torch.stack(made).view(torch.float8_e4m3fn)


def flashinfer_trtllm_fp8_per_tensor_scale_moe(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    output1_scales_scalar: torch.Tensor,
    output1_scales_gate_scalar: torch.Tensor,
    gemm2_weights: torch.Tensor,
    output2_scales_scalar: torch.Tensor,
    routing_bias: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float | None = None,
) -> torch.Tensor:
    """Output of `trtllm_fp8_per_tensor_scale_moe`."""
    from flashinfer.fused_moe import trtllm_fp8_per_tensor_scale_moe

    routing = FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_ROUTING
    grouped = routing == "ds_routing"
    methods = {"default_routing": 0, "renorm": 1, "ds_routing": 2, "llama4_routing": 3}
    output: torch.Tensor = trtllm_fp8_per_tensor_scale_moe(
        routing_logits=routing_logits,
        routing_bias=routing_bias,
        hidden_states=hidden_states,
        gemm1_weights=flashinfer_trtllm_fp8_per_tensor_scale_moe_shuffled(gemm1_weights, True),
        output1_scales_scalar=output1_scales_scalar,
        output1_scales_gate_scalar=output1_scales_gate_scalar,
        gemm2_weights=flashinfer_trtllm_fp8_per_tensor_scale_moe_shuffled(gemm2_weights, False),
        output2_scales_scalar=output2_scales_scalar,
        num_experts=routing_logits.shape[1],
        top_k=FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_TOP_K,
        n_group=FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_NUM_GROUPS if grouped else None,
        topk_group=FLASHINFER_TRTLLM_FP8_PER_TENSOR_SCALE_MOE_TOP_GROUPS if grouped else None,
        intermediate_size=gemm2_weights.shape[2],
        local_expert_offset=int(local_expert_offset),
        local_num_experts=gemm1_weights.shape[0],
        routed_scaling_factor=routed_scaling_factor,
        use_routing_scales_on_input=routing == "llama4_routing",
        routing_method_type=methods[routing],
    )
    return output
