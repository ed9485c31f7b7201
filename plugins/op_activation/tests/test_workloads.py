"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition, scalar
from fibcore_op_activation import fibcore_workloads

Make = Callable[..., Definition]


@pytest.mark.parametrize("kind", ["silu_and_mul", "relu2"])
def test_rows_from_one_to_8192(definition: Make, kind: str) -> None:
    found = fibcore_workloads(definition(kind, 64), {}, 0)
    assert [case.axes["num_tokens"] for case in found] == [2**i for i in range(14)]
    halves = [case.axes.get("hidden_div_2") for case in found]
    assert halves == [64 if kind == "silu_and_mul" else None] * 14


def test_few_rows_reach_where_activations_bend(definition: Make) -> None:
    found = fibcore_workloads(definition("gelu", 64), {}, 0)
    values = found[4].tensors()["input"]
    assert values.shape == (16, 64)
    assert -8 <= values.min() < -7
    assert 7 < values.max() <= 8
    assert not found[5].tensors()


def test_scalars_are_the_models(definition: Make) -> None:
    made = definition("situ_and_mul", 64)
    assert fibcore_workloads(made, {}, 0)[0].scalars == {"beta": 4.0, "linear_beta": 25.0}
    found = fibcore_workloads(made, {"beta": 2.0, "linear_beta": 9.0}, 0)
    assert found[0].scalars == {"beta": 2.0, "linear_beta": 9.0}


def test_few_rows_reach_the_limit(definition: Make) -> None:
    for kind in ("silu_and_mul_clamp", "swiglu_oai_and_mul"):
        for limit in (10.0, 30.0):
            found = fibcore_workloads(definition(kind, 64), {"limit": limit, "alpha": 1.5}, 0)
            values = found[4].tensors()["input"]
            for half in (values[:, :64], values[:, 64:]):
                assert half.min() < -1.2 * limit
                assert half.max() > 1.2 * limit


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition("relu2")
    inputs = {**made.inputs, "scale": scalar("float32")}
    reference = "def run(input, scale):\n    pass\n"
    assert fibcore_workloads(attrs.evolve(made, inputs=inputs, reference=reference), {}, 0) == ()
