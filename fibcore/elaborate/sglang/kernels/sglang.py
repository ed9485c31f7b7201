"""SGLang's own kernels, by the modules that hold them.

The functions of these modules launch a kernel each, or several in a row, by Triton or by a custom
operator. The same function has the same name in all releases, wherever it stands.
"""

KERNELS = (
    "sglang.kernels.ops.",
    "sglang.jit_kernel.",
    "sglang.srt.layers.quantization.fp8_kernel.",
    "sglang.srt.layers.quantization.int8_kernel.",
    "sglang.srt.layers.deep_gemm_wrapper.entrypoint.",
    "sglang.srt.layers.quantization.deep_gemm_wrapper.entrypoint.",
    "sglang.srt.layers.moe.fused_moe_triton.fused_moe_triton_kernels.",
    "sglang.srt.distributed.communication_op.",
    "sglang.srt.layers.dp_attention.attn_tp_all_reduce",
    "sglang.srt.layers.dp_attention.attn_tp_reduce_scatter",
    "sglang.srt.layers.dp_attention.attn_tp_all_gather",
    "sglang.srt.layers.flashinfer_comm_fusion.flashinfer_allreduce",
)
HELPERS = ("sglang.kernels.ops.utils.", "sglang.jit_kernel.utils.")
HELPER_NAMES = (
    "_", "can_", "is_", "get_", "has_", "should_", "support", "use_", "select_", "prepare_",
    "create_", "cached_", "register_", "configure_", "update_", "make_", "contiguous_layout_",
    "load_jit", "ensure_", "try_",
    # They choose among kernels, or quantise what they are given first.
    "scaled_fp8_quant", "invoke_fused_moe_kernel",
    # Names of classes begin with capitals.
    *map(chr, range(ord("A"), ord("Z") + 1)),
)  # fmt: skip
NOTED = (
    "sglang.srt.distributed.communication_op.",
    "sglang.srt.layers.dp_attention.attn_tp_all_reduce",
    "sglang.srt.layers.dp_attention.attn_tp_reduce_scatter",
    "sglang.srt.layers.dp_attention.attn_tp_all_gather",
    "sglang.srt.layers.flashinfer_comm_fusion.flashinfer_allreduce",
    # Activations that models call as functions.
    "sglang.kernels.ops.activation.silu_and_mul_clamp.silu_and_mul_clamp",
    "sglang.kernels.ops.moe.dsv4.silu_and_mul_clamp",
    "sglang.kernels.ops.attention.dsv4.moe.silu_and_mul_clamp",
    "sglang.jit_kernel.dsv4.moe.silu_and_mul_clamp",
    "sglang.jit_kernel.deepseek_v4.silu_and_mul_clamp",
    "sglang.srt.layers.moe.moe_runner.triton_utils.fused_moe.swiglu_no_interleaved_with_alpha",
    "sglang.srt.layers.moe.fused_moe_triton.fused_moe.swiglu_no_interleaved_with_alpha",
    # One module in older releases, a package in newer ones.
    "sglang.srt.layers.rotary_embedding.apply_rotary_pos_emb",
    "sglang.srt.layers.rotary_embedding.utils.apply_rotary_pos_emb",
)
BESIDE = (
    "quant", "all_reduce", "allreduce", "all_gather", "reduce_scatter", "store_cache",
    "set_kv_buffer", "set_mla_kv_buffer",
)  # fmt: skip
