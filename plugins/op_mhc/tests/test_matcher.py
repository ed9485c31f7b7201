"""The matcher on hand-written calls that mirror releases of SGLang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Extraction, ModelTree, ParameterRef, Serving, Unknown
from fibcore.plugin import with_origins as origins
from fibcore.testing.trees import TENSOR, call, module, operation, tree
from fibcore_op_mhc import fibcore_extract

Make = Callable[..., ModelTree]


def uses(found: Extraction) -> dict[str, list[str]]:
    return {kernel.name: [use.path for use in kernel.uses] for kernel in found.kernels}


def test_fused_kernels_run_at_the_norms_inside(fused: ModelTree) -> None:
    found = fibcore_extract(fused, Serving(tp=8))
    norm = "layers.0.post_attention_layernorm"
    assert uses(found) == {
        "mhc_pre_norm_hc4_h32": ["layers.0.input_layernorm"],
        "mhc_fused_post_pre_hc4_h32": [norm],
        "mhc_post_hc4_h32": [norm],
    }
    assert found.claimed == {"layers.0", "layers.0.input_layernorm", norm}
    assert not found.problems
    assert {k.op_type: k.tags for k in found.kernels} == {
        "mhc_pre": (),
        "mhc_fused_post_pre": ("fi_api:flashinfer.mhc.mhc_fused_post_pre",),
        "mhc_post": ("fi_api:flashinfer.mhc.mhc_post",),
    }


def test_unfused_kernels_run_twice_in_a_layer(unfused: ModelTree) -> None:
    found = fibcore_extract(unfused, Serving())
    both = ["layers.0.hc_attn_fn", "layers.0.hc_ffn_fn"]
    assert uses(found) == {"mhc_pre_hc4_h32": both, "mhc_post_hc4_h32": both}
    assert "layers.0" in found.claimed


def test_sizes_are_those_of_the_projection(mhc: Make) -> None:
    fn = ParameterRef("layers.0.hc_attn_fn", (15, origins(96, frozenset({"config:x"}))), "float32")
    kernel = fibcore_extract(mhc("mhc_pre", fn=fn), Serving()).kernels[0]
    assert kernel.name == "mhc_pre_hc3_h32"
    assert kernel.facts["hidden_size"].origins == ("config:x",)
    assert kernel.tags == ()


def test_the_head_runs_at_its_projection(head: Make) -> None:
    found = fibcore_extract(head(), Serving(tp=8))
    assert uses(found) == {"mhc_head_hc4_h32": ["model.hc_head_fn"]}
    assert found.claimed >= {"model"}
    (kernel,) = found.kernels
    assert kernel.parameters == {
        "kind": "head",
        "hc": 4,
        "hidden_size": 32,
        "hc_hidden_size": 128,
        "scale_size": 1,
        "rms_eps": 1e-6,
        "hc_pre_eps": 2e-6,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"hc_fn": TENSOR},
        {"hc_fn": ParameterRef("model.fn", None, "float32")},
        {"hc_fn": ParameterRef("model.fn", (4, 130), "float32")},
        {"hc_eps": Unknown("epsilon")},
    ],
)
def test_what_is_not_known_of_the_head_is_a_problem(head: Make, changed: dict[str, Any]) -> None:
    found = fibcore_extract(head(**changed), Serving())
    assert [problem.what for problem in found.problems] == ["fused_hc_head kernel"]
    assert not found.kernels


@pytest.mark.parametrize(
    "changed",
    [
        {"fn": TENSOR},
        {"fn": ParameterRef("layers.0.fn", (24, Unknown("hidden")), "float32")},
        {"fn": ParameterRef("layers.0.fn", (24, 130), "float32")},
        {"fn": ParameterRef("layers.0.fn", (23, 128), "float32")},
        {"fn": ParameterRef("layers.0.fn", None, "float32")},
        {"sinkhorn_repeat": Unknown("rounds")},
        {"rms_eps": True},
        {"hc_pre_eps": None},
        {"norm_weight": Unknown("weight")},
        {"norm_weight": TENSOR},
        {"norm_weight": ParameterRef("elsewhere.weight", (32,), None)},
    ],
)
def test_what_is_not_known_is_a_problem(mhc: Make, changed: dict[str, Any]) -> None:
    found = fibcore_extract(mhc("mhc_pre", norm="input_layernorm", **changed), Serving())
    assert [problem.what for problem in found.problems] == ["mhc_pre kernel"]
    assert [k for k in found.kernels if k.op_type != "mhc_post"] == []


def test_a_boundary_without_a_norm_is_a_problem(mhc: Make) -> None:
    found = fibcore_extract(mhc("mhc_fused_post_pre"), Serving())
    assert "no norm inside" in found.problems[0].reason


def test_functions_of_others_are_left_alone() -> None:
    calls = [operation("aiter.ops.mhc.mhc_pre", TENSOR), operation("sglang.x.mhc_top", TENSOR)]
    found = fibcore_extract(tree(operations=calls), Serving())
    assert not found.kernels
    assert not found.problems


IHC = "sglang.kernels.ops.layernorm.example_ihc.fused_x4_ihc_"


def test_streams_that_nothing_mixes_are_named() -> None:
    fn = ParameterRef("layers.0.hc.fn.weight", (8, 128), "float32")
    holder = module("layers.0.hc", "sglang.srt.models.example.Streams")
    given = operation(IHC + "pre", TENSOR, fn, module="layers.0.hc")
    found = fibcore_extract(tree(holder, operations=[given]), Serving())
    assert {op.what: [use.path for use in op.uses] for op in found.not_covered} == {
        "hyper-connections without a matrix: what a layer is given": ["layers.0.hc"],
        "hyper-connections without a matrix: streams behind a layer": ["layers.0.hc"],
    }
    assert found.claimed == {"layers.0.hc"}
    assert not found.kernels
    assert not found.problems


def test_the_head_of_streams_that_nothing_mixes_is_the_same() -> None:
    fn = ParameterRef("model.head.fn.weight", (4, 128), "float32")
    scale, base = (ParameterRef(f"model.head.{n}", None, "float32") for n in ("scale", "base"))
    norm = ParameterRef("model.norm.weight", (32,), None)
    given = operation(
        IHC + "head", TENSOR, fn, scale, base, 1e-5, 1e-6, norm, 1e-5, module="model.head"
    )
    holder = module("model.head", "sglang.srt.models.example.Head")
    found = fibcore_extract(tree(holder, operations=[given]), Serving())
    assert uses(found) == {"mhc_head_hc4_h32": ["model.head.fn.weight"]}
    assert found.kernels[0].parameters["rms_eps"] == 1e-5
    assert found.kernels[0].parameters["hc_pre_eps"] == 1e-6
    assert found.claimed >= {"model.head"}


@pytest.mark.parametrize("called", [("predict", "correct"), ("predict",), ()])
def test_alternating_updates_are_named_where_they_are_called(called: tuple[str, ...]) -> None:
    linear = "sglang.srt.layers.linear.ReplicatedLinear"
    children = [module(f"layers.0.u.{n}_coefs", linear) for n in ("prediction", "correction")]
    node = module(
        "layers.0.u",
        "sglang.srt.models.example.Updates",
        calls=[call(TENSOR, method=method) for method in called],
        children=children,
    )
    found = fibcore_extract(tree(node), Serving())
    assert [op.what.rpartition(" ")[2] for op in found.not_covered] == list(called)
    assert ("layers.0.u" in found.claimed) is bool(called)


def test_coefficients_of_one_kind_are_no_alternating_updates() -> None:
    child = module("layers.0.u.prediction_coefs", "sglang.srt.layers.linear.ReplicatedLinear")
    cls = "sglang.srt.models.example.Updates"
    node = module("layers.0.u", cls, calls=[call(TENSOR, method="predict")], children=[child])
    assert not fibcore_extract(tree(node), Serving()).claimed
