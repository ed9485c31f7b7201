"""The tables of which functions run on the device."""

from __future__ import annotations

import pytest

from fibcore.elaborate.sglang.kernels import is_beside, is_kernel, is_noted

KERNELS = [
    "sgl_kernel.top_k_top_p_sampling_from_probs",
    "flashinfer.sampling.top_k_top_p_sampling_from_probs",
    "deep_gemm.fp8_gemm_nt",
    "torch.ops.sglang.inplace_fused_experts",
    "torch.argmax",
    "torch.nn.functional.linear",
    "torch.distributed.all_reduce",
    "sglang.kernels.ops.quantization.fp8_kernel.sglang_per_token_group_quant_fp8",
    "sglang.srt.layers.quantization.fp8_kernel.sglang_per_token_group_quant_fp8",
    "sglang.srt.layers.quantization.int8_kernel.per_token_quant_int8",
    "sglang.srt.distributed.communication_op.tensor_model_parallel_all_reduce",
    "sglang.jit_kernel.rope.apply_rope_with_cos_sin_cache_inplace",
]
BOOKKEEPING = [
    "torch.empty",
    "torch.cat",
    "torch.Tensor.view",
    "torch.nn.functional.pad",
    "torch.distributed.get_rank",
    "torch.distributed.is_initialized",
    "sgl_kernel.utils.is_arch_support_pdl",
    "flashinfer.BatchDecodeWithPagedKVCacheWrapper",
    "deep_gemm.get_num_sms",
    "sglang.kernels.ops.gemm.dsv3_router_gemm.can_use_dsv3_router_gemm",
    "sglang.kernels.ops.quantization.fp8_kernel.create_per_token_group_quant_fp8_output_scale",
    "sglang.srt.layers.quantization.fp8_kernel.scaled_fp8_quant",
    "sglang.srt.layers.quantization.fp8_utils.apply_fp8_linear",
    "sglang.srt.layers.sampler.Sampler.forward",
    "math.ceil",
]


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name: str) -> None:
    assert is_kernel(name)


@pytest.mark.parametrize("name", BOOKKEEPING)
def test_what_is_none(name: str) -> None:
    assert not is_kernel(name)


def test_what_is_noted_in_models() -> None:
    assert is_noted("sglang.srt.distributed.communication_op.tensor_model_parallel_all_reduce")
    assert is_noted("sglang.srt.layers.rotary_embedding.utils.apply_rotary_pos_emb_native")
    assert is_noted("sglang.srt.layers.rotary_embedding.apply_rotary_pos_emb_native")
    assert not is_noted("sglang.srt.layers.activation.SiluAndMul.forward")
    assert not is_noted(KERNELS[7])


def test_kernels_beside_the_layer_that_runs_them() -> None:
    assert is_beside(KERNELS[7])
    assert is_beside("torch.distributed.all_reduce")
    assert is_beside("sglang.srt.mem_cache.memory_pool.MHATokenToKVPool.set_kv_buffer")
    assert not is_beside("deep_gemm.fp8_gemm_nt")
    assert not is_beside("torch.nn.functional.linear")
