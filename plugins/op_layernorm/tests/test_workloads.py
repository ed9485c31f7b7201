"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Definition, scalar
from fibcore_op_layernorm import fibcore_workloads

Make = Callable[..., Definition]


def test_rows_from_one_to_8192(definition: Make) -> None:
    found = fibcore_workloads(definition(hidden_size=64), {}, 0)
    assert [case.axes["batch_size"] for case in found] == [2**i for i in range(14)]


def test_few_rows_have_a_mean_and_deviate_so_little_that_epsilon_matters(definition: Make) -> None:
    cases = fibcore_workloads(definition(hidden_size=512, eps=1e-6), {}, 0)
    rows = cases[3].tensors()["hidden_states"]
    assert rows.shape == (8, 512)
    assert all(0.9 < value < 1.1 for value in rows[1::2].std(-1))
    assert all(0.4 < value < 0.6 for value in rows[1::2].mean(-1))
    assert all(1e-3 < value < 3e-3 for value in rows[0::2].std(-1))
    assert not cases[-1].tensors()


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    inputs = {**made.inputs, "scale": scalar("float32")}
    reference = "def run(hidden_states, weight, bias, scale):\n    pass\n"
    assert fibcore_workloads(attrs.evolve(made, inputs=inputs, reference=reference), {}, 0) == ()
