"""What a quantisation section says of a layer, format by format, without any model."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.sglang.quantization import method_name, quantization_data
from fibcore.elaborate.sglang.quantization_formats import describe
from fibcore.model.tree import Quantization, Unknown

FP8, FP4 = "float8_e4m3fn", "float4_e2m1"
QKV = "model.layers.3.self_attn.qkv_proj"
EXPERTS = "model.layers.3.mlp.experts"
QUARK_FP8 = {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": False}


def shape(answer: Any) -> Any:
    """Dtype, scheme, block or group size, activation of an answer; the reason of an unknown one."""
    if isinstance(answer, Quantization):
        size = answer.block or answer.group_size
        return answer.weight_dtype, answer.scheme, size, answer.activation
    return answer.reason if isinstance(answer, Unknown) else answer


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"quant_method": "fp8"}, (FP8, "tensor", None, "dynamic")),
        ({"quant_method": "fp8", "activation_scheme": "static"}, (FP8, "tensor", None, "static")),
        (
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            (FP8, "block", (128, 128), "dynamic"),
        ),
        ({"quant_method": "fp8", "weight_block_size": [1, 32]}, (FP8, "group", 32, "dynamic")),
        ({"quant_method": "fbgemm_fp8"}, (FP8, "channel", None, "dynamic")),
        ({"quant_method": "w8a8_fp8"}, (FP8, "channel", None, "dynamic")),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, (FP8, "tensor", None, "static")),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"},
            (FP8, "channel", None, "dynamic"),
        ),
        ({"quant_algo": "FP8_PB_WO"}, (FP8, "block", (128, 128), "dynamic")),
        ({"quant_algo": "MXFP8"}, (FP8, "group", 32, "dynamic")),
        ({"quant_algo": "NVFP4"}, (FP4, "group", 16, "static")),
        ({"quant_algo": "W4A16_NVFP4"}, (FP4, "group", 16, None)),
        ({"quant_algo": "NVFP4", "group_size": 32}, (FP4, "group", 32, "static")),
        ({"quant_method": "petit_nvfp4"}, (FP4, "group", 16, None)),
        ({"quant_method": "mxfp4"}, (FP4, "group", 32, None)),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, ("int4", "group", 64, None)),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, ("int4", "group", 128, None)),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, ("int8", "channel", None, None)),
        ({"quant_method": "moe_wna16", "bits": 4}, ("int4", "group", 128, None)),
        ({"quant_method": "w8a8_int8"}, ("int8", "channel", None, "dynamic")),
        (
            {"quant_method": "blockwise_int8", "weight_block_size": [128, 128]},
            ("int8", "block", (128, 128), "dynamic"),
        ),
        ({"quant_method": "qoq", "group_size": 128}, ("int4", "group", 128, "dynamic")),
        (
            {"quant_method": "bitsandbytes", "load_in_8bit": True},
            ("int8", "channel", None, "dynamic"),
        ),
        ({"quant_method": "w4afp8"}, (FP8, "block", (128, 128), "dynamic")),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": QUARK_FP8}},
            (FP8, "tensor", None, None),
        ),
        (
            {
                "quant_method": "quark",
                "global_quant_config": {
                    "weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32},
                    "input_tensors": {"is_dynamic": True},
                },
            },
            (FP4, "group", 32, "dynamic"),
        ),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 32}, ("int4", "group", 32, None)),
        (
            {"quant_method": "auto-round", "bits": 4, "group_size": 16, "data_type": "nv_fp4"},
            (FP4, "group", 16, "dynamic"),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            ("nf4", "group", 64, None),
        ),
        # Of a format that is not known here, the name alone is.
        ({"quant_method": "gguf"}, ("gguf", "format", None, None)),
        ({"quant_method": "brand_new"}, ("brand_new", "format", None, None)),
        (
            {"quant_method": "modelopt", "quant_algo": "INT4_AWQ"},
            ("modelopt INT4_AWQ", "format", None, None),
        ),
    ],
    ids=str,
)
def test_formats(section: dict[str, Any], expected: Any) -> None:
    assert shape(describe(method_name(section), section, QKV, experts=False)) == expected


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"bits": 4}, "names no method"),
        ({"quant_method": "gptq", "bits": "many"}, "gptq"),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "mx6"}}}, "mx6"),
        ({"quant_method": "auto-round", "bits": 3, "data_type": "mx_fp"}, "3 bits"),
    ],
    ids=str,
)
def test_what_is_not_known_is_named(section: dict[str, Any], named: str) -> None:
    answer = describe(method_name(section), section, QKV, experts=False)
    assert isinstance(answer, Unknown)
    assert named in answer.reason.lower()


@pytest.mark.parametrize(
    ("section", "layer", "expected"),
    [
        ({"-:.*layers\\.3\\..*": {}}, QKV, None),
        ({"-:.*layers\\.4\\..*": {}}, QKV, ("int4", "group", 128, None)),
        ({"+:.*qkv.*": {"bits": 8}}, QKV, ("int8", "group", 128, None)),
        ({".*qkv.*": {"bits": 8, "group_size": 64}}, QKV, ("int8", "group", 64, None)),
        ({".*qkv.*": {"bits": 8}, "-:.*": {}}, QKV, ("int8", "group", 128, None)),
    ],
)
def test_dynamic_rules_of_gptq(section: dict[str, Any], layer: str, expected: Any) -> None:
    data = {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": section}
    assert shape(describe("gptq_marlin", data, layer, experts=False)) == expected


def test_mixed_precision_of_modelopt_goes_by_the_algorithm_of_the_layer() -> None:
    layers = {
        **{f"model.layers.3.self_attn.{p}_proj": {"quant_algo": "FP8"} for p in "qkv"},
        "model.layers.3.self_attn.o_proj": {"quant_algo": "NVFP4", "group_size": 16},
        "model.layers.3.mlp.experts.0.up_proj": {"quant_algo": "NVFP4", "group_size": 16},
        "model.layers.4.self_attn.q_proj": {"quant_algo": "FP8"},
        "model.layers.4.self_attn.k_proj": {"quant_algo": "NVFP4"},
    }
    data = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    assert method_name(data) == "modelopt_mixed"

    def of(algorithm: str) -> Any:
        section = {**data, "quant_algo": algorithm}
        return shape(describe("modelopt_mixed", section, QKV, experts=False))

    assert of("FP8") == (FP8, "tensor", None, "static")
    assert of("NVFP4") == (FP4, "group", 16, "static")
    assert of("MXFP8") == (FP8, "group", 32, "dynamic")
    assert "not known" in of("INT3")


@pytest.mark.parametrize(
    ("section", "zeros"),
    [
        ({"quant_method": "awq", "bits": 4}, True),
        ({"quant_method": "awq", "bits": 4, "zero_point": False}, False),
        ({"quant_method": "gptq", "bits": 4}, False),
        ({"quant_method": "gptq", "bits": 4, "sym": False}, True),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*qkv.*": {"sym": False}}}, True),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": False}, True),
        ({"quant_method": "auto-round", "bits": 4, "sym": False}, True),
        ({"quant_method": "auto-round", "bits": 4}, False),
        ({"quant_method": "fp8"}, False),
    ],
)
def test_asymmetric_integers_have_zero_points(section: dict[str, Any], zeros: bool) -> None:
    answer = describe(method_name(section), section, QKV, experts=False)
    assert isinstance(answer, Quantization)
    assert answer.zero_points is zeros


def test_experts_of_w4afp8_are_integers() -> None:
    data = {"quant_method": "w4afp8"}
    assert shape(describe("w4afp8", data, EXPERTS, experts=True)) == (
        "int4",
        "group",
        128,
        "static",
    )


def test_quark_has_formats_by_layer() -> None:
    data = {
        "global_quant_config": {"weight": QUARK_FP8},
        "layer_quant_config": {
            "*lm_head": {},
            "*layers.4.*q_proj": {"weight": {**QUARK_FP8, "dtype": "int8"}},
        },
    }
    assert describe("quark", data, "lm_head", experts=False) is None
    answer = describe("quark", data, QKV.replace("3", "4"), experts=False)
    assert "several formats" in shape(answer)


def test_auto_round_leaves_layers_as_they_are() -> None:
    data = {
        "bits": 4,
        "group_size": 128,
        "block_name_to_quantize": "model.layers",
        "extra_config": {"model.layers.3.mlp.gate": {"bits": 16}, "model.layers.5.*": {"bits": 8}},
    }
    layer = shape(describe("auto-round", data, QKV, experts=False))
    assert layer == ("int4", "group", 128, None)
    assert describe("auto-round", data, "model.layers.3.mlp.gate", experts=False) is None
    assert describe("auto-round", data, "lm_head", experts=False) is None
    eight = shape(describe("auto-round", data, "model.layers.5.mlp.down_proj", experts=False))
    assert eight == ("int8", "group", 128, None)


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"quant_method": "fp8"}},
        {"compression_config": {"quant_method": "fp8"}},
        {"text_config": {"quantization_config": {"quant_method": "fp8"}}},
        {"thinker_config": {"text_config": {"quantization_config": {"quant_method": "fp8"}}}},
        {"llm_config": {"compression_config": {"quant_method": "fp8"}}},
    ],
)
def test_where_the_section_is(config: dict[str, Any]) -> None:
    assert quantization_data(config) == {"quant_method": "fp8"}


def test_the_form_of_hf_quant_config_inside_of_the_config() -> None:
    section = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
    data = quantization_data({"quantization_config": section})
    assert data is not None
    assert method_name(data) == "modelopt_fp4"


def test_no_section() -> None:
    assert quantization_data({"text_config": {}, "quantization_config": None}) is None


def packed(answer: Any) -> Any:
    """Packing, zero points, act-order of an answer."""
    assert isinstance(answer, Quantization), answer
    return answer.packing, answer.zero_points, answer.act_order


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"quant_method": "awq", "bits": 4}, ("awq", True, False)),
        ({"quant_method": "awq", "bits": 4, "zero_point": False}, ("awq", False, False)),
        ({"quant_method": "gptq", "bits": 4, "sym": True}, ("gptq", False, False)),
        ({"quant_method": "gptq", "bits": 4, "desc_act": True}, ("gptq", False, True)),
        # One group for all of K is in no order.
        (
            {"quant_method": "gptq", "bits": 4, "desc_act": True, "group_size": -1},
            ("gptq", False, False),
        ),
        ({"quant_method": "gptq", "bits": 4, "sym": False}, ("gptq", True, False)),
        # The second form differs in its zero points alone.
        (
            {"quant_method": "gptq", "bits": 4, "sym": False, "checkpoint_format": "gptq_v2"},
            ("gptq_v2", True, False),
        ),
        (
            {"quant_method": "gptq", "bits": 4, "sym": True, "checkpoint_format": "gptq_v2"},
            ("gptq", False, False),
        ),
        ({"quant_method": "gptq", "checkpoint_format": "marlin"}, ("", False, False)),
        ({"quant_method": "moe_wna16", "bits": 4}, ("", False, False)),
        ({"quant_method": "auto-round", "bits": 4}, ("gptq", False, False)),
        ({"quant_method": "auto-round", "bits": 4, "sym": False}, ("gptq", True, False)),
        # It stores zero points that are all the middle.
        (
            {"quant_method": "auto-round", "bits": 4, "packing_format": "auto_round:auto_awq"},
            ("awq", True, False),
        ),
        (
            {"quant_method": "auto-round", "bits": 4, "packing_format": "auto_round:fp8"},
            ("", False, False),
        ),
        ({"quant_method": "w8a8_int8"}, ("", False, False)),
    ],
)
def test_how_integers_are_packed(section: dict[str, Any], expected: Any) -> None:
    found = describe(method_name(section), section, QKV, experts=False)
    assert packed(found) == expected


def test_a_rule_of_gptq_says_what_layers_it_packs_in_another_order() -> None:
    rules = {"+:.*qkv_proj": {"desc_act": True, "bits": 8}}
    section = {"quant_method": "gptq", "bits": 4, "dynamic": rules}
    assert packed(describe("gptq", section, QKV, experts=False)) == ("gptq", False, True)
    assert packed(describe("gptq", section, "o_proj", experts=False)) == ("gptq", False, False)
