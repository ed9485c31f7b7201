"""The matcher on hand-written trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    Operation,
    Serving,
    SourcePlace,
    Unknown,
)
from fibcore.plugin import with_origins as origins
from fibcore.testing.sglang_modules import linear
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_activation import matcher
from fibcore_op_activation.kinds import KINDS

Layer = Callable[..., ModuleNode]
LINEAR = "sglang.srt.layers.linear."
ACTIVATIONS = "sglang.srt.layers.activation."


def extract(*nodes: ModuleNode, tp: int = 1) -> Extraction:
    return matcher.extract(tree(*nodes), Serving(tp=tp))


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def held_at(path: str) -> ModuleNode:
    """A module without linear layers."""
    return module(path, "sglang.srt.models.example.MLP", leaf=False)


def held(*children: ModuleNode, cls: str = "sglang.srt.models.example.MLP") -> ModuleNode:
    """A module that holds others; their paths have to begin with `mlp.`."""
    return module("mlp", cls, children=children, leaf=False)


CALLED = ("silu_and_mul_clamp", "swiglu_oai_and_mul")
"""The kinds that are functions."""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in CALLED])
def test_each_kind_is_found_with_the_size_between_its_linear_layers(
    layer: Layer, kind: str
) -> None:
    found = extract(layer(kind, 96, "a"), layer(kind, 96, "b"), layer(kind, 64, "c"))
    form = f"{kind}_h{{}}" if KINDS[kind].gated else f"{kind}_i{{}}"
    factor = 1 + KINDS[kind].gated
    assert names(found) == {
        form.format(96 * factor): ["a.act_fn", "b.act_fn"],
        form.format(64 * factor): ["c.act_fn"],
    }
    assert not found.not_covered
    assert not found.problems
    assert found.claimed == {"a.act_fn", "b.act_fn", "c.act_fn"}


@pytest.mark.parametrize(
    ("kind", "scalars"),
    [
        ("silu_and_mul_clamp", {"limit": 10.0}),
        ("swiglu_oai_and_mul", {"alpha": 1.702, "limit": 7.0}),
    ],
)
def test_functions_are_found_in_the_layers_that_call_them(
    layer: Layer, function: Callable[..., Operation], kind: str, scalars: dict[str, float]
) -> None:
    idle = attrs.evolve(module("a.act_fn", f"{ACTIVATIONS}SiluAndMul", {}), idle=True)
    first = layer(kind, 96, "a")
    first = attrs.evolve(first, children={**first.children, "act_fn": idle})
    made = tree(first, layer(kind, 96, "b"), kernel_calls=[function(kind, p) for p in "ab"])
    found = matcher.extract(made, Serving(tp=4))
    (kernel,) = found.kernels
    assert kernel.name == f"{kind}_h48"
    assert [use.path for use in kernel.uses] == ["a", "b"]
    assert {name: kernel.parameters[name] for name in scalars} == scalars
    assert kernel.tags == ("tp:4",)
    # The module that nobody calls is no gap where the function stands in its place.
    assert not found.not_covered
    assert len(found.claimed) == 3


def test_functions_of_what_is_not_known_are_problems(
    layer: Layer, function: Callable[..., Operation]
) -> None:
    unknown = function("silu_and_mul_clamp", "a", TENSOR, Unknown("a limit"))
    alone = function("silu_and_mul_clamp", "b")
    made = tree(layer("silu_and_mul_clamp", 96, "a"), held_at("b"), kernel_calls=[unknown, alone])
    found = matcher.extract(made, Serving())
    assert not found.kernels
    assert [p.what for p in found.problems] == ["silu_and_mul_clamp kernel"]
    assert [n.what for n in found.not_covered] == [
        "silu_and_mul_clamp outside of feed-forward layers"
    ]


def test_a_rank_has_its_share(layer: Layer) -> None:
    (kernel,) = extract(layer("silu_and_mul", 96), tp=4).kernels
    assert kernel.name == "silu_and_mul_h48"
    assert kernel.tags == ("fi_api:flashinfer.activation.silu_and_mul", "tp:4")
    fact = kernel.facts["hidden_size"]
    assert (fact.value, fact.origins) == (48, ("serving:tp",))
    assert fact.note == "gate_up_proj: output_sizes: (96 + 96) / tp"


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        ("GELUTanh", "gelu_tanh"),
        ("PytorchGELUTanh", "gelu_tanh"),
        ("QuickGELUActivation", "quick_gelu"),
        ("GELUActivation", "gelu"),
    ],
)
def test_activations_of_transformers(cls: str, name: str) -> None:
    found = extract(
        held(
            linear("mlp.up", "ColumnParallelLinear", 32, 64),
            linear("mlp.down", "RowParallelLinear", 64, 32),
            module("mlp.act", f"transformers.activations.{cls}", calls=[call(TENSOR)]),
        )
    )
    assert [kernel.name for kernel in found.kernels] == [f"{name}_i64"]


def test_a_size_remembers_its_config_key() -> None:
    size = origins(64, frozenset({"config:intermediate_size"}))
    found = extract(
        held(
            linear("mlp.up", "ColumnParallelLinear", 32, size),
            linear("mlp.down", "RowParallelLinear", size, 32),
            module("mlp.act", "torch.nn.GELU", calls=[call(TENSOR)]),
        )
    )
    (kernel,) = found.kernels
    assert kernel.facts["intermediate_size"].origins == ("config:intermediate_size", "serving:tp")


def test_layers_that_are_not_split_have_no_tag() -> None:
    found = extract(
        held(
            linear("mlp.up", "ReplicatedLinear", 32, 64),
            linear("mlp.down", "ReplicatedLinear", 64, 48),
            module("mlp.act", "torch.nn.GELU", calls=[call(TENSOR)]),
        ),
        tp=8,
    )
    (kernel,) = found.kernels
    assert (kernel.name, kernel.tags) == ("gelu_i64", ())


@pytest.mark.parametrize(
    ("group", "size"),
    [({"tp_size": 2}, 32), ({"tp_size": None}, 16), ({"parallel_group": "replicated"}, 64)],
)
def test_linear_layers_say_over_how_many_ranks_they_are_split(
    group: dict[str, Any], size: int
) -> None:
    arguments = {"input_size": 32, "output_size": 64, **group}
    back = {"input_size": 64, "output_size": 32, **group}
    found = extract(
        held(
            module("mlp.up", LINEAR + "ColumnParallelLinear", arguments),
            module("mlp.down", LINEAR + "RowParallelLinear", back),
            module("mlp.act", "torch.nn.GELU", calls=[call(TENSOR)]),
        ),
        tp=4,
    )
    assert list(names(found)) == [f"gelu_i{size}"]


def test_in_a_sequence_the_layer_before_tells() -> None:
    def torch_linear(path: str, inputs: int, outputs: int) -> ModuleNode:
        return module(path, "torch.nn.Linear", {"in_features": inputs, "out_features": outputs})

    found = extract(
        held(
            torch_linear("mlp.0", 32, 64),
            module("mlp.1", "torch.nn.GELU", calls=[call(TENSOR)]),
            torch_linear("mlp.2", 64, 32),
            module("mlp.3", "torch.nn.GELU", calls=[call(TENSOR)]),
            torch_linear("mlp.4", 32, 64),
            cls="torch.nn.Sequential",
        )
    )
    assert names(found) == {"gelu_i64": ["mlp.1"], "gelu_i32": ["mlp.3"]}


def test_where_sizes_fit_both_ways_calls_tell() -> None:
    def at(line: int) -> Any:
        place = SourcePlace("sglang/srt/models/example.py", line)
        return [attrs.evolve(call(TENSOR), place=place)]

    def mlp(first: int, here: int, last: int) -> Extraction:
        return extract(
            held(
                linear("mlp.out", "ReplicatedLinear", 64, 32, calls=at(last)),
                linear("mlp.in", "ReplicatedLinear", 32, 64, calls=at(first)),
                module("mlp.act", "torch.nn.GELU", calls=at(here)),
            )
        )

    assert list(names(mlp(10, 11, 12))) == ["gelu_i64"]
    assert list(names(mlp(12, 11, 10))) == ["gelu_i32"]
    (problem,) = mlp(10, 10, 10).problems
    assert "which of 32, 64 it gets" in problem.reason


@pytest.mark.parametrize(("line", "found"), [(9, ["gelu_i64"]), (10, []), (11, [])])
def test_the_only_layer_beside_it_tells_where_its_call_comes_before(
    line: int, found: list[str]
) -> None:
    def at(line: int) -> Any:
        place = SourcePlace("sglang/srt/models/example.py", line)
        return [attrs.evolve(call(TENSOR), place=place)]

    result = extract(
        held(
            linear("mlp.dense", "ColumnParallelLinear", 32, 64, calls=at(line)),
            module("mlp.act", "torch.nn.GELU", calls=at(10)),
        )
    )
    assert list(names(result)) == found
    assert len(result.problems) == (not found)


def test_on_one_line_the_kinds_of_the_layers_tell() -> None:
    found = extract(
        held(
            linear("mlp.up", "ColumnParallelLinear", 32, 64, calls=[call(TENSOR)]),
            linear("mlp.down", "RowParallelLinear", 64, 32, calls=[call(TENSOR)]),
            module("mlp.act", "torch.nn.GELU", calls=[call(TENSOR)]),
        )
    )
    assert list(names(found)) == ["gelu_i64"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output_sizes", Unknown("it is read from a file")),
        ("output_sizes", [Unknown("it is read from a file"), 64]),
        ("output_sizes", Alternatives(([64, 64], [32, 32]))),
        ("output_sizes", [63, 65]),
        ("output_sizes", [64, 32]),
        ("output_sizes", None),
        ("parallel_group", "a_group"),
        ("tp_size", Unknown("a rank's")),
    ],
)
def test_a_size_that_is_not_known_is_a_problem(name: str, value: Any) -> None:
    arguments = {"input_size": 32, "output_sizes": [64, 64], name: value}
    found = extract(
        held(
            module("mlp.gate_up", LINEAR + "MergedColumnParallelLinear", arguments),
            linear("mlp.down", "RowParallelLinear", 64, 32),
            module("mlp.act", "sglang.srt.layers.activation.SiluAndMul", calls=[call(TENSOR)]),
        ),
        tp=2,
    )
    assert not found.kernels
    (problem,) = found.problems
    assert [u.path for u in problem.uses] == ["mlp.act"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("gelu_and_mul", "approximate"), ("situ_and_mul", "beta"), ("situ_and_mul", "linear_beta")],
)
@pytest.mark.parametrize("value", [Unknown("it is read from a file"), Alternatives((1, 2)), "x"])
def test_an_argument_that_is_not_known_is_a_problem(
    layer: Layer, kind: str, name: str, value: Any
) -> None:
    found = extract(layer(kind, **{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason


@pytest.mark.parametrize(
    ("cls", "what"),
    [
        ("sglang.srt.layers.activation.XIELU", "XIELU"),
        ("sglang.srt.layers.activation.ScaledActivation", "ScaledActivation"),
    ],
)
def test_functions_with_weights_are_named(cls: str, what: str) -> None:
    found = extract(held(module("mlp.act", cls, calls=[call(TENSOR)])))
    assert [n.what for n in found.not_covered] == [what]


def test_a_subclass_is_not_taken_for_its_base() -> None:
    base = "sglang.srt.layers.activation.SiluAndMul"
    own = module("mlp.act", "sglang.srt.models.beam.BeamSiluAndMul", bases=(base,), calls=[call()])
    (named,) = extract(held(own)).not_covered
    assert named.what == "BeamSiluAndMul"
    assert "derives from SiluAndMul" in named.reason


def test_one_without_a_bound_on_the_second_half_is_named(layer: Layer) -> None:
    (named,) = extract(layer("situ_and_mul", linear_beta=None)).not_covered
    assert named.what == "SituAndMul"


def test_what_does_not_run_is_named_and_what_may_run_is_a_problem(layer: Layer) -> None:
    def changed(**changes: Any) -> Extraction:
        mlp = layer("silu_and_mul")
        own = attrs.evolve(mlp.children["act_fn"], calls=(), **changes)
        return extract(attrs.evolve(mlp, children={**mlp.children, "act_fn": own}))

    assert [n.what for n in changed(idle=True).not_covered] == ["SiluAndMul that is not run"]
    (problem,) = changed().problems
    assert "no call" in problem.reason


def test_an_expert_that_is_a_module_of_its_own_is_part_of_the_fused_kernel() -> None:
    cls = "sglang.srt.layers.activation.SiluAndMul"
    own = module("experts.0.act_fn", cls)
    found = extract(own)
    assert found == Extraction(claimed=frozenset({"experts.0.act_fn"}))


def test_activations_of_other_operations_are_named() -> None:
    convolution = module("mlp.conv", "torch.nn.Conv2d")
    own = module("mlp.act", "torch.nn.ReLU", calls=[call(TENSOR)])
    (named,) = extract(held(convolution, own)).not_covered
    assert named.what == "ReLU outside of feed-forward layers"


def test_other_classes_are_left_to_others() -> None:
    assert extract(module("x", "torch.nn.Softmax")) == Extraction()


def test_linear_layers_that_clamp_their_rows_are_named(layer: Layer) -> None:
    cls = "sglang.srt.layers.clippable_linear.ClippableRowParallelLinear"
    inner = linear("o_proj.linear", "RowParallelLinear", 64, 64, calls=[call(TENSOR)])
    clamping = module("o_proj", cls, calls=[call(TENSOR)], children=[inner], leaf=False)
    found = extract(clamping, layer("silu_and_mul"))
    assert [(op.what, op.uses[0].path) for op in found.not_covered] == [
        ("clamp of a linear layer's rows", "o_proj")
    ]
    assert [kernel.name for kernel in found.kernels] == ["silu_and_mul_h8192"]


def test_gates_of_attention_with_a_bias_are_named() -> None:
    cls = "sglang.kernels.ops.elementwise.example.ExampleAttentionGateOp"
    fused, calls = ("sglang.kernels.fused_op.BaseFusedOp",), [call(TENSOR, TENSOR)]
    found = extract(module("attention_gate", cls, bases=fused, calls=calls, leaf=False))
    assert [op.what for op in found.not_covered] == ["gate of attention with a bias"]
    assert found.claimed == {"attention_gate"}
    assert not extract(module("attention_gate", cls, bases=fused)).claimed
    assert not extract(module("attention_gate", cls, calls=calls)).claimed
    other = cls.replace("AttentionGateOp", "NormOp")
    assert not extract(module("attention_gate", other, bases=fused, calls=calls)).claimed
