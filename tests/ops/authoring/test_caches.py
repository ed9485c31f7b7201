"""The dtype of a KV cache, as a checkpoint asks for it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from fibcore.model.launch import Launch
from fibcore.plugin import Serving, has_block_scales, kv_cache_dtype, linear_attention_dtype
from fibcore.testing.trees import module, tree

FLOAT8 = {"type": "float", "num_bits": 8}


def dtype_of(**config: Any) -> str | None:
    return kv_cache_dtype(attrs.evolve(tree(), config=config))


@pytest.mark.parametrize(
    "quantization",
    [
        {"kv_cache_quant_algo": "FP8"},
        {"quantization": {"kv_cache_quant_algo": "fp8"}},
        {"quant_algo": "NVFP4", "kv_cache_scheme": FLOAT8},
        {"quant_algo": "NVFP4", "kv_cache_scheme": " float8 "},
    ],
)
def test_a_checkpoint_of_modelopt_asks_for_fp8(quantization: dict[str, Any]) -> None:
    assert dtype_of(quantization_config=quantization) == "float8_e4m3fn"
    nested = {"quantization_config": quantization}
    assert dtype_of(text_config=nested) == "float8_e4m3fn"


@pytest.mark.parametrize(
    "quantization",
    [
        None,
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "compressed-tensors", "kv_cache_scheme": FLOAT8},
        {"kv_cache_quant_algo": None},
        {"kv_cache_quant_algo": "INT8"},
        {"quant_algo": "NVFP4", "kv_cache_scheme": {"type": "int", "num_bits": 8}},
        {"quant_algo": "NVFP4", "kv_cache_scheme": "INT8"},
        {"quant_algo": "NVFP4"},
    ],
)
def test_other_caches_have_the_dtype_of_the_model(quantization: Any) -> None:
    assert dtype_of(quantization_config=quantization) is None


def test_a_model_without_quantisation_has_no_dtype_of_its_own_for_the_cache() -> None:
    assert dtype_of() is None
    assert dtype_of(text_config=None) is None


def test_linear_attention_is_told_by_what_holds_it() -> None:
    layers = {
        "ling": ("bailing_moe_linear.BailingMoELinearAttention", "float32"),
        "minicpm": ("minicpm.MiniCPMLightningMixer", "bfloat16"),
        "softmax": ("bailing_moe_linear.BailingMoEAttention", None),
    }
    cls = "sglang.srt.layers.radix_attention.RadixAttention"
    model = tree(
        *(
            module(name, f"sglang.srt.models.{holder}", children=[module(f"{name}.attn", cls)])
            for name, (holder, _) in layers.items()
        )
    )
    for name, (_, dtype) in layers.items():
        assert linear_attention_dtype(f"{name}.attn", model) == dtype


@pytest.mark.parametrize(
    ("gpu", "arguments", "expected"),
    [
        ("H100", {}, True),
        ("H200", {"dsa_prefill_backend": "flashmla_sparse"}, True),
        ("H100", {"dsa_prefill_backend": "tilelang", "dsa_decode_backend": "tilelang"}, False),
        ("B200", {}, None),
        ("B200", {"dsa_decode_backend": "trtllm"}, False),
        ("B200", {"nsa_decode_backend": "flashmla_kv"}, True),
        ("MI300", {"dsa_decode_backend": None}, None),
    ],
)
def test_backends_say_whether_an_fp8_cache_holds_scales(
    gpu: str, arguments: dict[str, Any], expected: bool | None
) -> None:
    serving = Serving(gpu=gpu, launch=Launch("a line", arguments=arguments))
    assert has_block_scales(serving) is expected
