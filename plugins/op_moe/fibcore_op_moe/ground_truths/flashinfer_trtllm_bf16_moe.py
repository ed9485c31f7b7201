"""FlashInfer's fused kernel for bfloat16 experts (TensorRT-LLM, Blackwell).

It takes the weights in a layout of its own: up and gate rows interleaved, rows shuffled for the
MMA tiles, and columns in blocks of 128 bytes. Routing methods by number: 0 softmax then top-k, 1
top-k then softmax, 2 DeepSeek-V3.
"""

import torch

FLASHINFER_TRTLLM_BF16_MOE_ROUTING = "renorm"
FLASHINFER_TRTLLM_BF16_MOE_TOP_K = 8
FLASHINFER_TRTLLM_BF16_MOE_NUM_GROUPS = 8
FLASHINFER_TRTLLM_BF16_MOE_TOP_GROUPS = 4
FLASHINFER_TRTLLM_BF16_MOE_TILE = 128


def flashinfer_trtllm_bf16_moe_blocks(weights: torch.Tensor, gated: bool) -> torch.Tensor:
    """Weights [experts, rows, columns] in the kernel's layout; `gated` has up and gate rows."""
    from flashinfer import reorder_rows_for_gated_act_gemm, shuffle_matrix_a
    from flashinfer.fused_moe import convert_to_block_layout

    made = []
    for expert in range(weights.shape[0]):
        rows = weights[expert].contiguous()
        if gated:
            rows = reorder_rows_for_gated_act_gemm(rows)
        raw = shuffle_matrix_a(rows.view(torch.uint8), FLASHINFER_TRTLLM_BF16_MOE_TILE)
        made.append(convert_to_block_layout(raw, 128).view(torch.bfloat16))
    return torch.stack(made)


def flashinfer_trtllm_bf16_moe(
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm2_weights: torch.Tensor,
    routing_bias: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float | None = None,
) -> torch.Tensor:
    """Output of `trtllm_bf16_moe`."""
    from flashinfer.fused_moe import trtllm_bf16_moe

    grouped = FLASHINFER_TRTLLM_BF16_MOE_ROUTING == "ds_routing"
    methods = {"default_routing": 0, "renorm": 1, "ds_routing": 2}
    output: torch.Tensor = trtllm_bf16_moe(
        routing_logits=routing_logits,
        routing_bias=routing_bias,
        hidden_states=hidden_states,
        gemm1_weights=flashinfer_trtllm_bf16_moe_blocks(gemm1_weights, True),
        gemm2_weights=flashinfer_trtllm_bf16_moe_blocks(gemm2_weights, False),
        num_experts=routing_logits.shape[1],
        top_k=FLASHINFER_TRTLLM_BF16_MOE_TOP_K,
        n_group=FLASHINFER_TRTLLM_BF16_MOE_NUM_GROUPS if grouped else None,
        topk_group=FLASHINFER_TRTLLM_BF16_MOE_TOP_GROUPS if grouped else None,
        intermediate_size=gemm2_weights.shape[2],
        local_expert_offset=int(local_expert_offset),
        local_num_experts=gemm1_weights.shape[0],
        routed_scaling_factor=routed_scaling_factor,
        routing_method_type=methods[FLASHINFER_TRTLLM_BF16_MOE_ROUTING],
        use_shuffled_weight=True,
        weight_layout=2,
    )
    return output
