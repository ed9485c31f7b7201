"""The matcher on hand-written trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Extraction, ModelTree, ParameterRef, Serving, Unknown
from fibcore.plugin import with_origins as origins
from fibcore.testing.trees import TENSOR, operation, tree
from fibcore_op_eh_norm import matcher

Draft = Callable[..., ModelTree]


def test_the_call_runs_at_the_first_of_its_norms(draft: Draft) -> None:
    size = origins(7168, frozenset({"config:hidden_size"}))
    found = matcher.extract(draft(hidden_size=size), Serving(tp=8))
    (kernel,) = found.kernels
    assert kernel.name == "fused_eh_norm_h7168"
    assert [use.path for use in kernel.uses] == ["model.enorm"]
    assert found.claimed == {"model.enorm", "model.hnorm"}
    assert kernel.facts["eh_size"].value == 14336
    assert kernel.facts["eh_size"].origins == ("config:hidden_size",)
    assert kernel.parameters == {"hidden_size": 7168, "eps": 1e-6}


@pytest.mark.parametrize(
    "changed",
    [
        {"eps": Unknown("it is read from a file")},
        {"eps": True},
        {"hidden_size": Unknown("size")},
        {"enorm_weight": TENSOR},
        {"hnorm_weight": ParameterRef("model.hnorm.weight", None, None)},
        {"hnorm_weight": ParameterRef("model.hnorm.weight", (2048,), None)},
        {"hnorm_weight": ParameterRef("elsewhere.weight", (4096,), None)},
    ],
)
def test_what_is_not_known_is_a_problem(draft: Draft, changed: dict[str, Any]) -> None:
    found = matcher.extract(draft(**changed), Serving())
    assert not found.kernels
    assert [problem.what for problem in found.problems] == ["fused_eh_norm kernel"]


def test_functions_of_others_are_left_to_others() -> None:
    calls = [operation("vendor.fused_eh_norm", TENSOR), operation("sglang.x.eh_norm", TENSOR)]
    assert matcher.extract(tree(operations=calls), Serving()) == Extraction()
