"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Definition, scalar
from fibcore_op_gated_rmsnorm import fibcore_workloads

Make = Callable[..., Definition]


def test_rows_from_one_to_8192(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    assert [case.axes["batch_size"] for case in found] == [2**i for i in range(14)]


def test_every_second_of_few_rows_is_so_small_that_epsilon_matters(definition: Make) -> None:
    cases = fibcore_workloads(definition(), {}, 0)
    tensors = cases[3].tensors()
    assert list(tensors) == ["hidden_states"]
    squares = (tensors["hidden_states"] ** 2).mean(-1)
    assert all(0.5 < value < 2 for value in squares[1::2])
    assert all(1e-6 < value < 1e-5 for value in squares[0::2])
    assert not cases[-1].tensors()


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    inputs = {**made.inputs, "scale": scalar("float32")}
    reference = "def run(hidden_states, gate, weight, scale):\n    pass\n"
    assert fibcore_workloads(attrs.evolve(made, inputs=inputs, reference=reference), {}, 0) == ()
