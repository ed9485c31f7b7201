"""The matcher on hand-written trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import Extraction, Kernel, ModelTree, Operation, Serving, StepBatch, Unknown
from fibcore.plugin import with_origins as origins
from fibcore_op_attn_residual import fibcore_step_sizes, matcher

Model = Callable[..., ModelTree]
BATCH = StepBatch("decode", sequences=3, tokens=3, keys=4000)


def test_a_product_of_weights_is_a_kernel_at_the_projection(model: Model) -> None:
    size = origins(7168, frozenset({"config:hidden_size"}))
    found = matcher.extract(model(size=size), Serving(tp=8))
    (kernel,) = found.kernels
    assert kernel.name == "attn_residual_h7168"
    assert [use.path for use in kernel.uses] == ["layers.0.res_proj"]
    assert found.claimed == {"layers.0.res_proj", "layers.0.res_norm"}
    assert kernel.facts["hidden_size"].origins == ("config:hidden_size",)
    assert kernel.parameters == {"hidden_size": 7168, "eps": 1e-5, "num_blocks": 3}


def test_a_step_counts_with_the_mean_of_what_is_kept(two_layers: ModelTree) -> None:
    (kernel,) = matcher.extract(two_layers, Serving()).kernels
    assert len(kernel.uses) == 2
    assert fibcore_step_sizes(kernel, BATCH) == {"num_blocks": 2}
    assert fibcore_step_sizes(Kernel("attn_residual", "x", {}, {}, ()), BATCH) == {}


def test_what_is_kept_may_be_unknown(model: Model) -> None:
    (kernel,) = matcher.extract(model(kept=Unknown("number")), Serving()).kernels
    assert "num_blocks" not in kernel.parameters


def test_a_kernel_with_the_norm_inside_is_named(model: Model, fused: Operation) -> None:
    found = matcher.extract(model(fused), Serving())
    assert not found.kernels
    assert [gap.what for gap in found.not_covered] == ["attention residual by attn_res_fused_tma"]


@pytest.mark.parametrize(
    "changed",
    [
        {"size": Unknown("size")},
        {"eps": Unknown("epsilon")},
        {"eps": True},
        {"projection": 4096},
    ],
)
def test_what_is_not_known_is_a_problem(model: Model, changed: dict[str, Any]) -> None:
    found = matcher.extract(model(**changed), Serving())
    assert not found.kernels
    assert {problem.what for problem in found.problems} == {"attention residual"}


def test_products_of_others_are_left_to_others(model: Model) -> None:
    made = model()
    elsewhere = [
        attrs.evolve(call, place=attrs.evolve(call.place, file="sglang/srt/models/a.py"))
        for call in made.operations
    ]
    found = matcher.extract(attrs.evolve(made, operations=tuple(elsewhere)), Serving())
    assert found == Extraction()
