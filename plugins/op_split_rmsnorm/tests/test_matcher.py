"""The matcher on hand-written trees and on a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Alternatives, Extraction, ModelTree, Serving, Unknown
from fibcore.plugin import with_origins as origins
from fibcore.testing.real_trees import real_tree, sglang_package
from fibcore.testing.trees import TENSOR, operation, tree
from fibcore_op_split_rmsnorm import matcher

Layers = Callable[..., ModelTree]


def extract(model: ModelTree) -> Extraction:
    return matcher.extract(model, Serving())


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def test_a_call_is_the_sums_and_the_norm(layers: Layers) -> None:
    found = extract(layers("a", "b"))
    assert names(found) == {
        "split_rmsnorm_sums_q1536_k256": ["a.q_norm", "b.q_norm"],
        "split_rmsnorm_apply_q1536_k256_r4": ["a.k_norm", "b.k_norm"],
    }
    assert found.claimed == {f"{path}.{name}_norm" for path in "ab" for name in "qk"}
    assert not found.problems
    assert not found.not_covered


def test_a_number_remembers_its_config_key(layers: Layers) -> None:
    size = origins(128, frozenset({"config:head_dim", "serving:tp"}))
    for kernel in extract(layers(q_size=size)).kernels:
        assert kernel.facts["q_size"].origins == ("config:head_dim", "serving:tp")
        assert kernel.tags == ("tp:1",)


@pytest.mark.parametrize("name", ["q_size", "k_size", "ranks", "eps"])
@pytest.mark.parametrize("value", [Unknown("it is read from a file"), Alternatives((8, 16))])
def test_what_is_not_known_is_a_problem(layers: Layers, name: str, value: Any) -> None:
    found = extract(layers(**{name: value}))
    assert not found.kernels
    assert len(found.problems) == 1


def test_other_functions_are_left_to_others() -> None:
    given = operation("sglang.srt.models.minimax_m2.rms_sumsq_serial", TENSOR, TENSOR)
    assert extract(tree(operations=[given])) == Extraction()


@pytest.mark.parametrize(("version", "tp"), [("0.5.9", 2), ("0.5.23", 4)])
def test_a_real_model(version: str, tp: int) -> None:
    package = sglang_package(version)
    if package is None:
        pytest.skip(f"SGLang {version} is not in the cache of the tests")
    found = extract(real_tree(package, version, "minimax-m2.7", Serving(tp=tp)))
    sizes = f"q{6144 // tp}_k{1024 // tp}"
    assert {k.name: len(k.uses) for k in found.kernels} == {
        f"split_rmsnorm_sums_{sizes}": 62,
        f"split_rmsnorm_apply_{sizes}_r{tp}": 62,
    }
