"""Which kernels a layer runs, and what is said of those that run none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_conv as plugin
from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    Named,
    Operation,
    ParameterRef,
    Serving,
    SourcePlace,
    Unknown,
    with_origins,
)
from fibcore.testing.real_trees import VERSIONS, real_tree, sglang_package
from fibcore.testing.trees import TENSOR, call, module, tree

Make = Callable[..., ModuleNode]


def extract(*layers: ModuleNode, serving: Serving | None = None, **more: Any) -> Extraction:
    made = attrs.evolve(tree(*layers), **more)
    return plugin.fibcore_extract(made, serving or Serving(tp=4))


def names(found: Extraction) -> list[str]:
    return [kernel.name for kernel in found.kernels]


def test_linear_attention_has_one_before_it(attention: Make) -> None:
    found = extract(attention("a"), attention("b"))
    assert names(found) == [
        "causal_conv1d_update_d512_w4_silu",
        "causal_conv1d_prefill_d512_w4_silu",
    ]
    assert [use.path for use in found.kernels[0].uses] == ["a.conv1d", "b.conv1d"]
    assert found.claimed == {"a.conv1d", "b.conv1d"}
    assert [kernel.tags[0] for kernel in found.kernels] == ["stage:decode", "stage:prefill"]
    assert names(extract(attention(), serving=Serving(stages=("decode",)))) == [
        "causal_conv1d_update_d2048_w4_silu"
    ]


def test_mixers_have_one_with_a_bias(mixer: Make) -> None:
    found = extract(mixer(bias=True), serving=Serving())
    assert names(found)[0] == "causal_conv1d_update_d2048_w4_silu_bias"


def test_a_weight_of_float32_is_another_kernel(attention: Make) -> None:
    found = extract(attention(name="qkv_conv1d", params_dtype=Named("torch.float32")))
    assert names(found)[0] == "causal_conv1d_update_d512_w4_silu_float32_weight"


def test_separate_ones_are_kernels_of_their_own(attention: Make) -> None:
    for name in ("q_conv1d", "v_conv1d"):
        found = extract(attention(name=name, cls="ColumnParallelLinear", output_size=256))
        assert names(found)[0] == "causal_conv1d_update_d64_w4_silu"


def test_short_convolutions_have_no_activation(short: Make) -> None:
    found = extract(short("a"), short("b", use_bias=True))
    assert names(found) == [
        "causal_conv1d_update_d1024_w3",
        "causal_conv1d_prefill_d1024_w3",
        "causal_conv1d_update_d1024_w3_bias",
        "causal_conv1d_prefill_d1024_w3_bias",
    ]
    assert found.claimed == {"a", "b"}
    assert found.kernels[0].choice == ""


def test_a_kernel_with_the_gates_may_run_in_its_place(short: Make) -> None:
    place = SourcePlace("sglang/srt/models/lfm2_moe.py", 1)
    operation = Operation("a.fused_lfm_short_conv_decode", "conv", (TENSOR,), {}, place)
    node = short(cls="sglang.srt.models.lfm2_moe.Lfm2MoeShortConv")
    found = extract(node, operations=(operation,))
    assert len(found.kernels) == 2
    (other,) = found.not_covered
    assert other.what == "short convolution with its gates (fused_lfm_short_conv_decode)"
    assert other.choice == found.kernels[0].choice == found.kernels[1].choice != ""
    assert other.op_types == ()


def test_facts_keep_their_origins(short: Make) -> None:
    dim = with_origins(1024, frozenset({"config:hidden_size", "serving:tp"}))
    width = with_origins(3, frozenset({"config:conv_L_cache"}))
    kernel = extract(short(conv_weight=ParameterRef("w", (dim, width), None))).kernels[0]
    assert kernel.facts["dim"].origins == ("config:hidden_size", "serving:tp")
    assert (kernel.facts["state_len"].value, kernel.facts["state_len"].origins) == (
        2,
        ("config:conv_L_cache",),
    )


@pytest.mark.parametrize("name", ["input_size", "output_sizes", "bias", "params_dtype"])
@pytest.mark.parametrize("value", [Unknown("it is read"), Alternatives((4, 8))])
def test_what_is_not_known_is_a_problem(mixer: Make, name: str, value: Any) -> None:
    found = extract(mixer(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert [use.path for use in problem.uses] == ["mixer.conv1d"]


@pytest.mark.parametrize("value", [Unknown("it is read"), Alternatives(("silu", None))])
def test_an_activation_that_is_not_known_is_a_problem(
    mixer: Make, attention: Make, value: Any
) -> None:
    for node in (mixer(activation=value), attention(activation=value)):
        found = extract(node)
        assert not found.kernels
        assert "activation" in found.problems[0].reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"conv_weight": ParameterRef("w", None, None)}, "conv_weight"),
        ({"conv_weight": ParameterRef("w", (4,), None)}, "conv_weight"),
        ({"conv_weight": ParameterRef("w", (Unknown("?"), 3), None)}, "rows of conv_weight"),
        ({"conv_weight": None}, "conv_weight"),
        ({"use_bias": Unknown("?")}, "use_bias"),
        ({"use_bias": None}, "use_bias"),
    ],
)
def test_short_convolutions_have_to_be_known(
    short: Make, changed: dict[str, Any], reason: str
) -> None:
    found = extract(short(**changed))
    assert not found.kernels
    assert reason in found.problems[0].reason


def test_other_sizes_are_problems(mixer: Make) -> None:
    assert "has no state" in extract(mixer(input_size=1)).problems[0].reason
    assert "float8" in extract(mixer(params_dtype=Named("torch.float8"))).problems[0].reason
    assert "bias is 3" in extract(mixer(bias=3)).problems[0].reason


def test_other_activations_are_named(mixer: Make) -> None:
    found = extract(mixer(activation="gelu"))
    assert not found.kernels
    assert [one.what for one in found.not_covered] == ["causal convolution with activation gelu"]


def test_other_layers_are_left_alone(mixer: Make) -> None:
    called = mixer(calls=(call(TENSOR),))
    alone = module("x", "sglang.srt.models.x.X", children=[mixer("x.y").children["conv1d"]])
    norm = module("conv1d", "sglang.srt.layers.layernorm.RMSNorm")
    for node in (called, alone, norm):
        assert extract(node) == Extraction()


@pytest.mark.parametrize("version", VERSIONS)
def test_nemotron_h(version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not there")
    serving = Serving(tp=8)
    made = real_tree(package, version, "nemotron-h-56b-base-8k", serving)
    found = plugin.fibcore_extract(made, serving)
    assert names(found) == [
        "causal_conv1d_update_d2560_w4_silu_bias",
        "causal_conv1d_prefill_d2560_w4_silu_bias",
    ]
    assert not found.problems
    assert len(found.kernels[0].uses) == 54
    assert "serving:tp" in found.kernels[0].facts["dim"].origins


@pytest.mark.parametrize("cls", ["torch.nn.AvgPool2d", "torch.nn.modules.pooling.AvgPool2d"])
def test_pooling_of_patches_is_named_where_it_is_called(cls: str) -> None:
    found = extract(module("pool", cls, calls=[call(TENSOR)]))
    assert [op.what for op in found.not_covered] == ["AvgPool2d of patches"]
    assert found.claimed == {"pool"}
    assert not extract(module("pool", cls)).claimed
    other = module("pool", "sglang.srt.models.example.AvgPool2d", calls=[call(TENSOR)])
    assert not extract(other).claimed
