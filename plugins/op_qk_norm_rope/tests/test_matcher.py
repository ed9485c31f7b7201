"""The matcher on hand-written trees and on a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Alternatives, Extraction, ModelTree, ParameterRef, Serving, Unknown
from fibcore.plugin import with_origins as origins
from fibcore.testing.real_trees import real_tree, sglang_package
from fibcore.testing.trees import TENSOR, call, module, operation, tree
from fibcore_op_qk_norm_rope import matcher

Layers = Callable[..., ModelTree]


def extract(model: ModelTree) -> Extraction:
    return matcher.extract(model, Serving())


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def test_a_call_is_the_kernel_of_its_layers_norms_and_rotary_embedding(layers: Layers) -> None:
    found = extract(layers("a", "b"))
    name = "qk_gemma_rmsnorm_rope_gate_mrope_d256_rd64"
    assert names(found) == {name: ["a.q_norm", "b.q_norm"]}
    parts = ("q_norm", "k_norm", "rotary_emb")
    assert found.claimed == {f"{path}.{part}" for path in "ab" for part in parts}
    assert not found.problems
    assert not found.not_covered


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"has_gate": False}, "qk_gemma_rmsnorm_rope_mrope_d256_rd64"),
        ({"sections": None}, "qk_gemma_rmsnorm_rope_gate_d256_rd64"),
        ({"rotary_dim": 256}, "qk_gemma_rmsnorm_rope_gate_mrope_d256_rd256"),
    ],
)
def test_what_tells_kernels_apart_is_in_their_names(
    layers: Layers, changed: Any, name: str
) -> None:
    assert list(names(extract(layers(**changed)))) == [name]


def test_a_number_remembers_its_config_key(layers: Layers) -> None:
    size = origins(128, frozenset({"config:head_dim"}))
    (kernel,) = extract(layers(head_dim=size)).kernels
    assert kernel.facts["head_size"].origins == ("config:head_dim",)


@pytest.mark.parametrize("name", ["head_dim", "rotary_dim", "eps", "has_gate"])
@pytest.mark.parametrize("value", [Unknown("it is read from a file"), Alternatives((8, 16))])
def test_what_is_not_known_is_a_problem(layers: Layers, name: str, value: Any) -> None:
    found = extract(layers(**{name: value}))
    assert not found.kernels
    (problem,) = found.problems
    assert name in problem.reason


def test_sizes_that_do_not_fit_are_a_problem(layers: Layers) -> None:
    for turned in (300, 33):
        (problem,) = extract(layers(rotary_dim=turned)).problems
        assert "cannot be turned" in problem.reason


def minimax(**changed: Any) -> ModelTree:
    """A layer of MiniMax-M3: weights of both norms, the table, positions, heads, and epsilon."""
    norms = [
        module(f"a.{name}_norm", "x.GemmaRMSNorm", calls=changed.get("calls", ())) for name in "qk"
    ]
    cls = "sglang.srt.layers.rotary_embedding.base.RotaryEmbedding"
    rotary = module("a.rotary_emb", cls, {"rotary_dim": changed.get("rotary_dim", 64)})
    shape = changed.get("shape", (128,))
    weights = [ParameterRef(f"a.{name}_norm.weight", shape, None) for name in "qk"]
    given = (TENSOR, *weights, TENSOR, TENSOR, 8, 1, 1, changed.get("eps", 1e-6))
    function = "sglang.kernels.ops.attention.minimax_qknorm_rope.minimax_qknorm_rope"
    layer = module("a", "x.MiniMaxM3Attention", children=[*norms, rotary])
    return tree(layer, operations=[operation(function, *given, module="a")])


def test_a_row_of_queries_keys_and_values() -> None:
    found = extract(minimax())
    assert names(found) == {"qk_gemma_rmsnorm_rope_d128_rd64": ["a.q_norm"]}
    assert found.claimed == {"a.q_norm", "a.k_norm", "a.rotary_emb"}
    # Norms that another branch calls are kernels by themselves.
    assert extract(minimax(calls=[call(TENSOR)])) == Extraction()


@pytest.mark.parametrize("changed", [{"shape": None}, {"rotary_dim": None}, {"eps": 2}])
def test_a_row_of_which_something_is_not_known_is_a_problem(changed: dict[str, Any]) -> None:
    found = extract(minimax(**changed))
    assert not found.kernels
    assert len(found.problems) == 1


def test_other_functions_are_left_to_others() -> None:
    assert extract(tree(operations=[operation("a.fused_qk_norm", TENSOR)])) == Extraction()


def test_a_real_model() -> None:
    package = sglang_package("0.5.23")
    if package is None:
        pytest.skip("SGLang 0.5.23 is not in the cache of the tests")
    found = extract(real_tree(package, "0.5.23", "qwen3.5-35b-a3b", Serving()))
    name = "qk_gemma_rmsnorm_rope_gate_mrope_d256_rd64"
    assert {k.name: len(k.uses) for k in found.kernels} == {name: 10}
    assert len(found.claimed) == 30
