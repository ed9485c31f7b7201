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
    Named,
    Operation,
    ParameterRef,
    Serving,
    Unknown,
)
from fibcore.plugin import with_origins as origins
from fibcore.testing.trees import PLACE, TENSOR, call, module, tree
from fibcore_op_layernorm import matcher

Layer = Callable[..., ModuleNode]


def extract(*nodes: ModuleNode) -> Extraction:
    return matcher.extract(tree(*nodes), Serving())


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def test_layers_with_the_same_kernel_are_its_uses(layer: Layer) -> None:
    found = extract(layer("a"), layer("b"), layer("c", hidden_size=64))
    assert names(found) == {"layernorm_h4096": ["a", "b"], "layernorm_h64": ["c"]}
    assert found.claimed == {"a", "b", "c"}
    assert not found.not_covered
    assert not found.problems


def test_forms_of_sglangs_layer(layer: Layer) -> None:
    found = extract(
        layer("a", bias=False),
        layer("b", dtype=Named("torch.bfloat16")),
        layer("c", dtype=Named("torch.bfloat16"), bias=False),
        layer("d", elementwise_affine=False, bias=False),
    )
    assert names(found) == {
        "layernorm_no_bias_h4096": ["a"],
        "layernorm_bf16_h4096": ["b"],
        "layernorm_bf16_no_bias_h4096": ["c"],
        "layernorm_no_affine_h4096": ["d"],
    }


def test_torchs_layer_has_parameters_of_the_models_dtype(torch_layer: Layer) -> None:
    found = extract(
        torch_layer("a"),
        torch_layer("b", normalized_shape=(64,)),
        torch_layer("c", bias=False),
        torch_layer("d", elementwise_affine=False),
        torch_layer("e", dtype=Named("torch.float32")),
    )
    assert names(found) == {
        "layernorm_bf16_h4096": ["a"],
        "layernorm_bf16_h64": ["b"],
        "layernorm_bf16_no_bias_h4096": ["c"],
        "layernorm_no_affine_h4096": ["d"],
        "layernorm_h4096": ["e"],
    }


@pytest.mark.parametrize(
    ("cls", "name"),
    [("commandr.LayerNorm", "param_shape"), ("cohere2_moe.Cohere2MoeLayerNorm", "hidden_size")],
)
def test_layers_of_models_that_have_no_bias(cls: str, name: str) -> None:
    node = module("n", f"sglang.srt.models.{cls}", {name: 64, "eps": 1e-5}, calls=[call(TENSOR)])
    assert names(extract(node)) == {"layernorm_bf16_no_bias_h64": ["n"]}


def test_a_weight_for_each_head_is_another_function() -> None:
    arguments = {"param_shape": (8, 128), "eps": 1e-5}
    node = module("n", "sglang.srt.models.commandr.LayerNorm", arguments, calls=[call(TENSOR)])
    (named,) = extract(node).not_covered
    assert (named.what, "8 x 128" in named.reason) == ("LayerNorm", True)


def test_a_number_remembers_its_config_key(layer: Layer) -> None:
    size = origins(64, frozenset({"config:hidden_size"}))
    (kernel,) = extract(layer(hidden_size=size)).kernels
    assert kernel.facts["hidden_size"].origins == ("config:hidden_size",)
    assert kernel.tags == ("fi_api:flashinfer.norm.layernorm",)


def test_layers_that_differ_in_epsilon_share_a_kernel_with_a_note(layer: Layer) -> None:
    (kernel,) = extract(layer("a", eps=1e-5), layer("b", eps=1e-6)).kernels
    assert kernel.parameters["eps"] == 1e-5
    assert kernel.notes == ("eps is 1e-05 here, 1e-06 at b",)


@pytest.mark.parametrize("name", ["hidden_size", "eps", "elementwise_affine", "bias", "dtype"])
@pytest.mark.parametrize("value", [Unknown("it is read from a file"), Alternatives((1, 2)), "x"])
def test_what_is_not_known_is_a_problem(layer: Layer, name: str, value: Any) -> None:
    found = extract(layer(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason
    assert [u.path for u in problem.uses] == ["norm"]


@pytest.mark.parametrize(
    "changed",
    [{"elementwise_affine": False}, {"dtype": Named("torch.float64")}],
)
def test_a_form_without_definition_is_named(layer: Layer, changed: Any) -> None:
    found = extract(layer(**changed))
    assert not found.kernels
    assert [n.what for n in found.not_covered] == ["LayerNorm"]


def test_a_subclass_is_not_taken_for_its_base() -> None:
    cls, base = "sglang.srt.models.deepseek_ocr.LayerNormfp32", "torch.nn.LayerNorm"
    (named,) = extract(module("n", cls, bases=(base,), calls=[call(TENSOR)])).not_covered
    assert named.what == "LayerNormfp32"
    assert "derives from LayerNorm" in named.reason


@pytest.mark.parametrize("name", ["torch.nn.GroupNorm", "sglang.x.CumulativeGroupNorm"])
def test_norms_over_something_else_than_rows_are_named(name: str) -> None:
    (named,) = extract(module("n", name, calls=[call(TENSOR)])).not_covered
    assert named.what == name.rpartition(".")[2]


def test_a_layer_norm_that_is_not_known_is_named_unless_it_is_an_rms_norm() -> None:
    base = "sglang.srt.layers.layernorm.RMSNorm"
    found = extract(
        module("a", "sglang.srt.models.some.FancyLayerNorm", calls=[call(TENSOR)]),
        module("b", "sglang.srt.models.some.OddLayerNorm", bases=(base,), calls=[call(TENSOR)]),
        module("c", "sglang.srt.layers.fla.LayerNormGated", calls=[call(TENSOR)]),
    )
    assert [n.what for n in found.not_covered] == ["FancyLayerNorm"]
    assert found.claimed == {"a"}


def test_a_layer_whose_call_is_not_known_is_a_problem(layer: Layer) -> None:
    found = extract(attrs.evolve(layer(), calls=()))
    assert not found.kernels
    assert len(found.problems) == 1


def test_a_layer_that_does_not_run_is_named(layer: Layer) -> None:
    found = extract(attrs.evolve(layer(), calls=(), idle=True))
    assert [n.what for n in found.not_covered] == ["layernorm_h4096 that is not run"]


def test_a_layer_inside_a_building_block_that_was_not_followed_is_named(layer: Layer) -> None:
    own = attrs.evolve(layer("indexer.k_norm"), calls=())
    cls = "sglang.srt.layers.attention.dsa.dsa_indexer.Indexer"
    found = extract(module("indexer", cls, children=[own], leaf=False))
    assert [n.what for n in found.not_covered] == ["layernorm_h4096 inside Indexer"]


def test_an_indexer_calls_its_norm_or_hands_it_to_a_kernel(layer: Layer) -> None:
    own = attrs.evolve(layer("indexer.k_norm"), calls=())
    cls = "sglang.srt.layers.attention.dsa.dsa_indexer.Indexer"

    def found(fuses: Any) -> Extraction:
        attributes, calls = {"use_dsa_indexer_fusion": fuses}, [call(TENSOR)]
        return extract(
            module("indexer", cls, attributes=attributes, calls=calls, children=[own], leaf=False)
        )

    assert [k.name for k in found(fuses=False).kernels] == ["layernorm_h4096"]
    assert [n.what for n in found(fuses=True).not_covered] == [
        "layernorm_h4096 inside fused_k_indexer_norm_rope_store"
    ]
    assert "use_dsa_indexer_fusion" in found(fuses=Unknown("an option")).problems[0].reason


def test_a_layer_whose_weight_goes_to_a_kernel_is_named_after_it(layer: Layer) -> None:
    own = attrs.evolve(layer(), calls=())
    weight = ParameterRef("norm.weight", (4096,))
    operation = Operation("sglang.kernels.fused_store", "", (weight,), {}, PLACE)
    found = matcher.extract(tree(own, operations=[operation]), Serving())
    assert [n.what for n in found.not_covered] == ["layernorm_h4096 inside fused_store"]


def test_other_classes_are_left_to_others() -> None:
    assert extract(module("x", "sglang.srt.layers.layernorm.RMSNorm")) == Extraction()
