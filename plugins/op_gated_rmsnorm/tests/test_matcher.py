"""The matcher on hand-written trees and on real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import Alternatives, Extraction, ModuleNode, ParameterRef, Serving, Unknown
from fibcore.plugin import with_origins as origins
from fibcore.testing.real_trees import real_tree, sglang_package
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_gated_rmsnorm import matcher

Layer = Callable[..., ModuleNode]


def extract(*nodes: ModuleNode) -> Extraction:
    return matcher.extract(tree(*nodes), Serving())


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def test_layers_with_the_same_kernel_are_its_uses(layer: Layer) -> None:
    found = extract(layer("a"), layer("b", "fused", activation="silu"), layer("c", hidden_size=64))
    assert names(found) == {"gated_rmsnorm_h128": ["a", "b"], "gated_rmsnorm_h64": ["c"]}
    assert found.claimed == {"a", "b", "c"}
    assert not found.not_covered
    assert not found.problems


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"activation": "sigmoid"}, "gated_rmsnorm_h128_sigmoid"),
        ({"norm_before_gate": False}, "gated_rmsnorm_h128_gate_first"),
        ({"group_size": 32}, "gated_rmsnorm_h128_g32"),
        ({"group_size": 128}, "gated_rmsnorm_h128"),
        (
            {"group_size": 32, "activation": "sigmoid", "norm_before_gate": False},
            "gated_rmsnorm_h128_g32_sigmoid_gate_first",
        ),
    ],
)
def test_what_tells_kernels_apart_is_in_their_names(layer: Layer, changed: Any, name: str) -> None:
    assert list(names(extract(layer(**changed)))) == [name]


def test_what_the_constructor_set_counts_before_its_arguments(layer: Layer) -> None:
    """A class of a model hands an activation of its own to the class that it derives from."""
    node = layer(activation="swish")
    own = attrs.evolve(
        node,
        cls="sglang.srt.models.bailing_moe_linear.BailingGroupRMSNormGate",
        bases=(node.cls,),
        attributes={"activation": "sigmoid", "group_size": 32},
    )
    assert list(names(extract(own))) == ["gated_rmsnorm_h128_g32_sigmoid"]


def test_a_release_without_activations_has_silu(layer: Layer) -> None:
    node = layer()
    del node.arguments["activation"]
    assert list(names(extract(node))) == ["gated_rmsnorm_h128"]


@pytest.mark.parametrize(
    ("ranks", "name"),
    [
        (1, "gated_rmsnorm_h8192_g1024_gate_first"),
        (2, "gated_rmsnorm_h4096_g1024_gate_first"),
        (8, "gated_rmsnorm_h1024_gate_first"),
    ],
)
def test_a_mixer_has_the_groups_of_its_rank(mixer: Layer, ranks: int, name: str) -> None:
    found = extract(mixer(ranks=origins(ranks, frozenset({"serving:tp"}))))
    assert names(found) == {name: ["mixer.norm"]}
    facts = found.kernels[0].facts
    assert facts["hidden_size"].origins == ("serving:tp",)
    assert facts["hidden_size"].value == 8192 // ranks
    assert ("num_groups" in facts) == (ranks < 8)


def test_groups_that_ranks_share_are_named(mixer: Layer) -> None:
    found = extract(mixer(ranks=16))
    assert not found.kernels
    what = ["Mixer2RMSNormGated whose groups are shared by ranks"]
    assert [n.what for n in found.not_covered] == what


def test_a_number_remembers_its_config_key(layer: Layer) -> None:
    size = origins(64, frozenset({"config:hidden_size"}))
    (kernel,) = extract(layer(hidden_size=size)).kernels
    assert kernel.facts["hidden_size"].origins == ("config:hidden_size",)


def test_layers_that_differ_in_epsilon_share_a_kernel_with_a_note(layer: Layer) -> None:
    (kernel,) = extract(layer("a", eps=1e-5), layer("b", eps=1e-6)).kernels
    assert kernel.parameters["eps"] == 1e-5
    assert kernel.notes == ("eps is 1e-05 here, 1e-06 at b",)


@pytest.mark.parametrize(
    "name", ["hidden_size", "eps", "activation", "group_size", "norm_before_gate"]
)
@pytest.mark.parametrize("value", [Unknown("it is read from a file"), Alternatives((1, 2))])
def test_what_is_not_known_is_a_problem(layer: Layer, name: str, value: Any) -> None:
    found = extract(layer(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason
    assert [u.path for u in problem.uses] == ["o_norm"]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"activation": "relu"}, "RMSNorm with activation relu"),
        ({"calls": [call(TENSOR)]}, "RMSNorm without a gate"),
        ({"kind": "fused", "calls": [call(TENSOR, g=TENSOR, residual=TENSOR)]}, "with a residual"),
    ],
)
def test_another_function_is_named_as_not_covered(layer: Layer, changed: Any, what: str) -> None:
    found = extract(layer(**changed))
    assert not found.kernels
    assert [n.what.endswith(what) for n in found.not_covered] == [True]


def test_a_weight_in_float32_is_named(layer: Layer) -> None:
    weight = ParameterRef("o_norm.weight", (128,), "float32")
    found = extract(attrs.evolve(layer(), attributes={"weight": weight}))
    assert not found.kernels
    assert [n.what for n in found.not_covered] == ["RMSNorm whose weight is float32"]


def test_a_mixer_without_a_norm_multiplies_by_its_gate(mixer: Layer) -> None:
    size = origins(21504, frozenset({"config:mamba_d_ssm"}))
    found = extract(mixer(use_rms_norm=False, full_hidden_size=size, full_n_groups=2, ranks=4))
    (kernel,) = found.kernels
    assert (kernel.op_type, kernel.name) == ("silu_gate", "silu_gate_h5376")
    assert kernel.facts["hidden_size"].origins == ("config:mamba_d_ssm",)
    assert [use.path for use in kernel.uses] == ["mixer.norm"]


@pytest.mark.parametrize(
    "changed",
    [
        {"full_hidden_size": Unknown("size")},
        {"full_hidden_size": 8191},
        {"ranks": Unknown("ranks")},
        {"use_rms_norm": Unknown("whether there is a norm")},
    ],
)
def test_what_is_not_known_of_a_mixer_without_a_norm_is_a_problem(
    mixer: Layer, changed: Any
) -> None:
    found = extract(mixer(**{"use_rms_norm": False, "ranks": 2, **changed}))
    assert not found.kernels
    assert len(found.problems) == 1


def test_a_norm_without_a_weight_is_the_kernel_with_a_note(layer: Layer) -> None:
    (kernel,) = extract(layer(kind="fused", elementwise_affine=False)).kernels
    assert kernel.name == "gated_rmsnorm_h128_sigmoid"
    assert kernel.notes == ("it has no weight: the kernel's is all ones",)


def test_calls_decide(layer: Layer) -> None:
    maybe = Unknown("it is read from a file")
    for node, said in (
        (attrs.evolve(layer(), calls=()), "no call"),
        (layer(calls=[call(TENSOR, maybe)]), "whether it gets a gate"),
    ):
        found = extract(node)
        assert not found.kernels
        assert said in found.problems[0].reason
    found = extract(attrs.evolve(layer(), calls=(), idle=True))
    assert [n.what for n in found.not_covered] == ["RMSNorm that is not run"]
    assert not found.problems


def test_other_classes_are_left_to_others() -> None:
    for cls in ("layernorm.RMSNorm", "attention.fla.layernorm_gated.LayerNorm"):
        assert extract(module("x", f"sglang.srt.layers.{cls}")) == Extraction()


@pytest.mark.parametrize(
    ("version", "model", "tp", "name", "layers"),
    [
        ("0.5.9", "qwen3-next-80b-a3b-instruct", 2, "gated_rmsnorm_h128", 36),
        ("0.5.23", "qwen3-next-80b-a3b-instruct", 2, "gated_rmsnorm_h128", 36),
        ("0.5.23", "qwen3.5-35b-a3b", 1, "gated_rmsnorm_h128", 30),
        ("0.5.9", "nemotron-h-56b-base-8k", 4, "gated_rmsnorm_h4096_g2048_gate_first", 54),
        ("0.5.23", "nemotron-h-56b-base-8k", 8, "gated_rmsnorm_h2048_gate_first", 54),
    ],
)
def test_real_models(version: str, model: str, tp: int, name: str, layers: int) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not in the cache of the tests")
    serving = Serving(tp=tp)
    found = matcher.extract(real_tree(package, version, model, serving), serving)
    assert {k.name: len(k.uses) for k in found.kernels} == {name: layers}
    assert not found.problems
    assert not found.not_covered


def test_a_norm_that_projects_its_gate_is_named() -> None:
    cls = "sglang.srt.models.example.ExampleGatedRMSNorm"
    children = [module(f"n.gate_{way}", "torch.nn.Linear") for way in ("down", "up")]
    found = extract(module("n", cls, calls=[call(TENSOR)], children=children))
    assert [op.what for op in found.not_covered] == ["ExampleGatedRMSNorm with a gate of its own"]
    assert found.claimed == {"n"}
    assert not extract(module("n", cls, children=children)).claimed
    assert not extract(module("n", cls, calls=[call(TENSOR)])).claimed
