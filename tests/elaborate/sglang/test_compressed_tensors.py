"""What compressed-tensors configs say of layers, and which scheme SGLang runs them with."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.sglang.compressed_tensors import CompressedTensors, Reading
from fibcore.model.tree import Quantization, Unknown

FP8, FP4 = "float8_e4m3fn", "float4_e2m1"
QKV = "model.layers.3.self_attn.qkv_proj"
EXPERTS = "model.layers.3.mlp.experts"
DOWN = "model.layers.3.mlp.down_proj"


def shape(answer: Any) -> Any:
    """Dtype, scheme, block or group size, activation of an answer; the reason of an unknown one."""
    if isinstance(answer, Quantization):
        size = answer.block or answer.group_size
        return answer.weight_dtype, answer.scheme, size, answer.activation
    return answer.reason if isinstance(answer, Unknown) else answer


def part(bits: int, kind: str, strategy: str, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": kind, "strategy": strategy, **more}


def of(weights: Any, inputs: Any = None, layout: str = "", **more: Any) -> Any:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    data = {"config_groups": {"g": group}, "format": layout, **more}
    return shape(CompressedTensors(data).layer(DOWN, ("LinearBase",), experts=False))


TOKEN8 = part(8, "float", "token", dynamic=True)
NVFP4 = part(4, "float", "tensor_group", group_size=16)


# Checkpoints of llm-compressor, by the names of its presets.
@pytest.mark.parametrize(
    ("weights", "inputs", "layout", "expected"),
    [
        # FP8_DYNAMIC, FP8, FP8_BLOCK, and fp8 weights alone
        (part(8, "float", "channel"), TOKEN8, "float-quantized", (FP8, "channel", None, "dynamic")),
        (
            part(8, "float", "tensor"),
            part(8, "float", "tensor"),
            "float-quantized",
            (FP8, "tensor", None, "static"),
        ),
        (
            part(8, "float", "block", block_structure=[128, 128]),
            part(8, "float", "group", group_size=128, dynamic=True),
            "float-quantized",
            (FP8, "block", (128, 128), "dynamic"),
        ),
        (part(8, "float", "channel"), None, "naive-quantized", (FP8, "channel", None, None)),
        # activations that no scheme has, beside weights that one has
        (
            part(8, "float", "channel"),
            part(8, "float", "token"),
            "float-quantized",
            (FP8, "channel", None, None),
        ),
        # W8A8 (int8), static and dynamic
        (
            part(8, "int", "channel"),
            part(8, "int", "token", dynamic=True),
            "int-quantized",
            ("int8", "channel", None, "dynamic"),
        ),
        (
            part(8, "int", "channel"),
            part(8, "int", "tensor"),
            "int-quantized",
            ("int8", "channel", None, "static"),
        ),
        # W4A16, W8A16
        (
            part(4, "int", "group", group_size=128),
            None,
            "pack-quantized",
            ("int4", "group", 128, None),
        ),
        (part(8, "int", "channel"), None, "pack-quantized", ("int8", "channel", None, None)),
        # NVFP4, NVFP4A16
        (
            NVFP4,
            {**NVFP4, "dynamic": "local"},
            "nvfp4-pack-quantized",
            (FP4, "group", 16, "dynamic"),
        ),
        (NVFP4, None, "nvfp4-pack-quantized", (FP4, "group", 16, None)),
        # a format of which SGLang does not read the activations
        (part(8, "float", "channel"), TOKEN8, "dense", (FP8, "channel", None, None)),
    ],
)
def test_schemes_of_linear_layers(weights: Any, inputs: Any, layout: str, expected: Any) -> None:
    assert of(weights, inputs, layout) == expected


@pytest.mark.parametrize(
    ("weights", "inputs", "layout"),
    [
        (part(3, "int", "group", group_size=128), None, "pack-quantized"),
        (part(4, "int", "group", group_size=128), None, "marlin-24"),
        (part(4, "int", "channel"), part(8, "int", "token", dynamic=True), "pack-quantized"),
        (part(8, "int", "tensor"), None, "int-quantized"),
        (part(8, "int", "channel", symmetric=False), part(8, "int", "tensor"), "int-quantized"),
        (part(4, "float", "group", group_size=32), TOKEN8, "float-quantized"),
        (part(8, "float", "block", block_structure=[128, 128]), None, "float-quantized"),
        (part(6, "float", "tensor"), None, "float-quantized"),
    ],
)
def test_what_sglang_refuses_is_not_known(weights: Any, inputs: Any, layout: str) -> None:
    found = of(weights, inputs, layout)
    assert "SGLang has no scheme" in found
    assert layout in found


@pytest.mark.parametrize("symmetric", [True, False])
def test_asymmetric_integers_have_zero_points(symmetric: bool) -> None:
    weights = part(4, "int", "group", group_size=128, symmetric=symmetric)
    group = {"targets": ["Linear"], "weights": weights}
    config = CompressedTensors({"config_groups": {"g": group}, "format": "pack-quantized"})
    answer = config.layer(DOWN, ("LinearBase",), experts=False)
    assert isinstance(answer, Quantization)
    assert answer.zero_points is not symmetric
    assert answer.packing == "pack_quantized"


@pytest.mark.parametrize(
    ("order", "expected"),
    [(None, False), ("group", True), ("weight", False), ("static", False), ("dynamic", True)],
)
def test_groups_in_the_order_of_activations(order: str | None, *, expected: bool) -> None:
    weights = part(4, "int", "group", group_size=128, actorder=order)
    group = {"targets": ["Linear"], "weights": weights}
    config = CompressedTensors({"config_groups": {"g": group}, "format": "pack-quantized"})
    answer = config.layer(DOWN, ("LinearBase",), experts=False)
    assert isinstance(answer, Quantization)
    assert answer.act_order is expected


def test_a_group_has_a_format_of_its_own() -> None:
    four, eight = part(4, "int", "group", group_size=32), part(8, "float", "channel")
    groups = {
        "a": {"targets": ["re:.*down_proj"], "weights": four, "format": "pack-quantized"},
        "b": {
            "targets": ["Linear"],
            "weights": eight,
            "input_activations": TOKEN8,
            "format": "float-quantized",
        },
    }
    config = CompressedTensors({"config_groups": groups, "format": "mixed-precision"})

    def at(prefix: str) -> Any:
        return shape(config.layer(prefix, ("LinearBase",), experts=False))

    assert at(DOWN) == ("int4", "group", 32, None)
    assert at("model.layers.3.self_attn.o_proj") == (FP8, "channel", None, "dynamic")


def test_linear_layers_of_fp8_beside_experts_of_integers() -> None:
    four = part(4, "int", "group", group_size=32)
    group = {"targets": ["Linear"], "weights": four}
    data = {
        "config_groups": {"g": group},
        "format": "pack-quantized",
        "linear_fp8_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }
    config = CompressedTensors(data)
    linear = config.layer(DOWN, ("LinearBase",), experts=False)
    assert shape(linear) == (FP8, "block", (128, 128), "dynamic")
    assert isinstance(linear, Quantization)
    assert linear.method == "fp8"
    assert shape(config.layer(EXPERTS, (), experts=True)) == ("int4", "group", 32, None)


def test_heads_are_quantised_where_they_are_named() -> None:
    def at(targets: list[str], *ignore: str, reading: Reading = "end") -> Any:
        group = {"targets": targets, "weights": part(8, "float", "channel")}
        data = {"config_groups": {"g": group}, "ignore": list(ignore), "format": "float-quantized"}
        return shape(CompressedTensors(data, reading=reading).head("language_model.lm_head"))

    assert at(["Linear"]) is None
    assert at(["Linear", "re:.*lm_head"]) == (FP8, "channel", None, None)
    assert at(["lm_head"]) == (FP8, "channel", None, None)
    assert at(["lm_head"], reading="whole") is None
    assert at(["re:.*lm_head"], "lm_head") is None
    assert "cannot be read" in at(["re:["])


def test_the_end_of_a_path_names_a_layer_to_leave_out() -> None:
    group = {"targets": ["Linear"], "weights": part(8, "float", "channel")}
    data = {"config_groups": {"g": group}, "format": "float-quantized"}
    kept = (FP8, "channel", None, None)
    ways: list[tuple[Reading, str, Any]] = [
        ("whole", "mlp.down_proj", kept),
        ("end", "mlp.down_proj", None),
        ("end", "down", kept),
        ("end", "p.down_proj", kept),
        ("part", "P.DOWN", None),
        ("part", "re:down", kept),
    ]
    for reading, entry, expected in ways:
        config = CompressedTensors({**data, "ignore": [entry]}, reading=reading)
        assert shape(config.layer(DOWN, ("LinearBase",), experts=False)) == expected


def test_groups_of_compressed_tensors_by_name_before_class() -> None:
    four = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    eight = {"num_bits": 8, "type": "float", "strategy": "channel"}
    config = CompressedTensors(
        {
            "config_groups": {
                "group_0": {"targets": ["Linear"], "weights": four},
                "group_1": {
                    "targets": ["re:.*down_proj", "re:.*self_attn.q_proj"],
                    "weights": eight,
                    "input_activations": {"type": "float", "dynamic": True},
                },
            },
            "ignore": ["lm_head", "re:.*layers.7.*"],
        }
    )

    def at(prefix: str, experts: bool = False) -> Any:
        return shape(config.layer(prefix, ("RowParallelLinear", "LinearBase"), experts=experts))

    assert at("model.layers.3.mlp.gate_up_proj") == ("int4", "group", 128, None)
    assert at("model.layers.3.mlp.down_proj") == (FP8, "channel", None, "dynamic")
    assert "several formats" in at(QKV)
    assert "several formats" in at(EXPERTS, experts=True)
    assert at("model.layers.7.mlp.down_proj") is None
    assert at("lm_head") is None


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (
            {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
            (FP4, "group", 16, None),
        ),
        (
            {"num_bits": 8, "type": "float", "strategy": "tensor"},
            (FP8, "tensor", None, None),
        ),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, ("int8", "channel", None, None)),
        (None, None),
    ],
)
def test_weights_of_compressed_tensors(weights: Any, expected: Any) -> None:
    config = CompressedTensors(
        {"config_groups": {"g": {"targets": ["Linear"], "weights": weights}}}
    )
    assert shape(config.layer("model.layers.0.o_proj", ("LinearBase",), experts=False)) == expected


def test_sparse_weights_are_not_taken_for_dense() -> None:
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}
    config = CompressedTensors(
        {"config_groups": {"g": group}, "sparsity_config": {"format": "sparse-24-bitmask"}}
    )
    assert "sparse" in shape(config.layer("model.o_proj", (), experts=False))


@pytest.mark.parametrize("entry", ["re:[", "re:(", "re:(?P<a", "re:*"])
@pytest.mark.parametrize("key", ["ignore", "targets"])
def test_a_pattern_that_is_none_leaves_the_layer_unknown(entry: str, key: str) -> None:
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}
    data: dict[str, Any] = {"config_groups": {"g": group}, "ignore": []}
    (data if key == "ignore" else group)[key] = [entry]
    found = CompressedTensors(data).layer("model.layers.0.mlp", ("LinearBase",), experts=False)
    assert isinstance(found, Unknown)
    assert "cannot be read" in found.reason
