"""SGLang's own kernels, by the modules that hold them.

The functions of these modules launch a kernel each, or several in a row, by Triton or by a custom
operator. The same function has the same name in all releases, wherever it stands.
"""

KERNELS = (
    "sglang.kernels.ops.*",
    "sglang.jit_kernel.*",
    "sglang.srt.layers.quantization.fp8_kernel.*",
    "sglang.srt.layers.quantization.int8_kernel.*",
    "sglang.srt.layers.deep_gemm_wrapper.entrypoint.*",
    "sglang.srt.layers.quantization.deep_gemm_wrapper.entrypoint.*",
    "sglang.srt.distributed.communication_op.tensor_model_parallel_*",
    "sglang.srt.distributed.communication_op.attention_tensor_model_parallel_*",
    "sglang.srt.distributed.communication_op.moe_*",
    "sglang.srt.layers.dp_attention.*all_gather*",
    "sglang.srt.layers.dp_attention.*reduce_scatter*",
    "sglang.srt.layers.dp_attention.*all_reduce*",
    "sglang.srt.layers.flashinfer_comm_fusion.flashinfer_allreduce*",
)
HELPERS = (
    "sglang.*._*",
    "sglang.*.[A-Z]*",
    "sglang.*.can_*",
    "sglang.*.is_*",
    "sglang.*.get_*",
    "sglang.*.has_*",
    "sglang.*.should_*",
    "sglang.*.supports_*",
    "sglang.*.use_*",
    "sglang.*.select_*",
    "sglang.*.prepare_*",
    "sglang.*.create_*",
    "sglang.*.cached_*",
    "sglang.*.register_*",
    "sglang.*.configure_*",
    "sglang.*.update_*",
    "sglang.*.make_*",
    "sglang.*.contiguous_layout_*",
    "sglang.*.load_jit*",
    "sglang.*.jit_utils.*",
    "sglang.jit_kernel.utils.*",
    # It chooses among kernels for one scale and for one scale per token.
    "sglang.*.scaled_fp8_quant",
)
BESIDE = (
    "sglang.*quant*",
    "sglang.*all_reduce*",
    "sglang.*allreduce*",
    "sglang.*all_gather*",
    "sglang.*reduce_scatter*",
    "sglang.*.store_*cache*",
    "sglang.*.set_*kv*",
)
