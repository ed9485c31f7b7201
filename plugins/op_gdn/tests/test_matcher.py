"""Which kernels a layer runs, and what is said of those that run none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_gdn as plugin
from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    ParameterRef,
    Serving,
    Unknown,
    with_origins,
)
from fibcore.testing.real_trees import VERSIONS, real_tree, sglang_package
from fibcore.testing.trees import module, tree

Layer = Callable[..., ModuleNode]


def extract(*layers: ModuleNode, serving: Serving | None = None, **more: Any) -> Extraction:
    made = attrs.evolve(tree(*layers), **more)
    return plugin.fibcore_extract(made, serving or Serving(tp=4))


def names(found: Extraction) -> list[str]:
    return [kernel.name for kernel in found.kernels]


def test_a_layer_runs_one_kernel_for_each_form(layer: Layer) -> None:
    found = extract(layer("a"), layer("b"))
    assert names(found) == [
        "gdn_decode_qk4_v8_d128_k_last",
        "gdn_mtp_qk4_v8_d128_k_last",
        "gdn_prefill_qk4_v8_d128_k_last",
    ]
    assert all([use.path for use in kernel.uses] == ["a", "b"] for kernel in found.kernels)
    assert found.claimed == {"a", "b"}
    assert not found.problems
    assert not found.not_covered


def test_gates_of_channels_are_another_op_type(layer: Layer) -> None:
    found = extract(
        layer("a", gate="channel", qk_heads=12, v_heads=12),
        layer("b", gate="channel", qk_heads=12, v_heads=12, lower_bound=-5.0),
    )
    assert {kernel.op_type for kernel in found.kernels} == {"kda"}
    assert names(found)[::3] == [
        "kda_decode_qk12_v12_d128_k_last",
        "kda_decode_qk12_v12_d128_lb5_k_last",
    ]


def test_tags_choices_and_stages(layer: Layer) -> None:
    decode, mtp, prefill = extract(layer()).kernels
    assert decode.tags == (
        "stage:decode",
        "layout:k-last",
        "tp:4",
        "fi_api:flashinfer.gdn_decode.gated_delta_rule_decode_pretranspose",
    )
    assert "fi_api:flashinfer.gdn_decode.gated_delta_rule_mtp" in mtp.tags
    assert prefill.tags[0] == "stage:prefill"
    assert decode.choice == mtp.choice != prefill.choice
    assert names(extract(layer(), serving=Serving(stages=("prefill",)))) == [prefill.name]
    assert len(extract(layer(), serving=Serving(stages=("decode",))).kernels) == 2


def test_facts_keep_their_origins(layer: Layer) -> None:
    heads = with_origins(8, frozenset({"config:linear_num_value_heads", "serving:tp"}))
    kernel = extract(layer(num_v_heads=heads)).kernels[0]
    assert kernel.facts["num_v_heads"].value == 8
    assert kernel.facts["num_v_heads"].origins == ("config:linear_num_value_heads", "serving:tp")
    assert kernel.facts["seq_len"].value == 1


def test_what_the_model_sets_later_counts(layer: Layer) -> None:
    node = layer(gate="channel", lower_bound=None)
    later = attrs.evolve(node, attributes={"lower_bound": -5.0})
    assert all("lb5" in name for name in names(extract(later)))


@pytest.mark.parametrize(
    "name",
    ["num_q_heads", "num_v_heads", "head_k_dim", "lower_bound", "A_log", "dt_bias"],
)
@pytest.mark.parametrize("value", [Unknown("it is read"), Alternatives((4, 8)), "four"])
def test_what_is_not_known_is_a_problem(layer: Layer, name: str, value: Any) -> None:
    found = extract(layer(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason
    assert [use.path for use in problem.uses] == ["linear_attn.attn"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"num_v_heads": 6}, "do not fit"),
        ({"num_q_heads": 2}, "do not fit"),
        ({"dt_bias": ParameterRef("x", (7,), None)}, "dt_bias has 7 numbers"),
        ({"A_log": ParameterRef("x", (1024,), None)}, "A_log has 1024 numbers"),
        ({"dt_bias": ParameterRef("x", None, None)}, "is not known"),
        ({"dt_bias": ParameterRef("x", (Unknown("?"),), None)}, "is not known"),
        ({"lower_bound": 5.0}, "not a negative number"),
    ],
)
def test_sizes_that_do_not_fit_are_problems(
    layer: Layer, changed: dict[str, Any], reason: str
) -> None:
    found = extract(layer(**changed))
    assert not found.kernels
    assert reason in found.problems[0].reason


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"head_v_dim": 256}, "with heads of 128 for keys and 256 for values"),
        ({"A_log": None}, "without A_log"),
        ({"dt_bias": None}, "without dt_bias"),
        ({"lower_bound": -5.0}, "with bounded gates of heads"),
    ],
)
def test_other_functions_are_named(layer: Layer, changed: dict[str, Any], what: str) -> None:
    found = extract(layer(**changed))
    assert not found.kernels
    assert [one.what for one in found.not_covered] == [f"RadixLinearAttention {what}"]
    assert found.claimed == {"linear_attn.attn"}


def test_a_layer_that_is_not_run_is_named(layer: Layer) -> None:
    found = extract(attrs.evolve(layer(calls=()), idle=True))
    assert [one.what for one in found.not_covered] == ["RadixLinearAttention that is not run"]


def test_a_state_of_another_dtype_is_a_note(layer: Layer) -> None:
    for config in (
        {"mamba_ssm_dtype": "bfloat16"},
        {"text_config": {"mamba_ssm_dtype": "float16"}},
    ):
        notes = extract(layer(), config=config).kernels[0].notes
        assert "mamba_ssm_dtype" in notes[0]
    assert extract(layer(), config={"mamba_ssm_dtype": "float32"}).kernels[0].notes == ()


def test_other_classes_are_left_alone() -> None:
    assert extract(module("x", "sglang.srt.layers.radix_attention.RadixAttention")) == Extraction()


@pytest.mark.parametrize("version", VERSIONS)
def test_qwen3_next(version: str) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not there")
    found = plugin.fibcore_extract(
        real_tree(package, version, "qwen3-next", Serving(tp=4)), Serving(tp=4)
    )
    assert names(found) == [
        "gdn_decode_qk4_v8_d128_k_last",
        "gdn_mtp_qk4_v8_d128_k_last",
        "gdn_prefill_qk4_v8_d128_k_last",
    ]
    assert not found.problems
    assert len(found.kernels[0].uses) == 36
    origins = found.kernels[0].facts["num_v_heads"].origins
    assert {"config:linear_num_value_heads", "serving:tp"} <= set(origins)
