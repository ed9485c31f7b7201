"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_activation import fibcore_cost

Make = Callable[..., Definition]


def test_a_gated_activation_writes_half_of_what_it_reads(definition: Make) -> None:
    # 7 rows of 2 * 4096 in 2 bytes are read, 7 of 4096 written, each with 5 operations.
    found = fibcore_cost(definition("silu_and_mul"), {"num_tokens": 7, "hidden_div_2": 4096}, {})
    assert found == Cost(5 * 7 * 4096, "float32", 114_688, 57_344)


def test_one_without_a_gate_reads_and_writes_alike(definition: Make) -> None:
    found = fibcore_cost(definition("relu2"), {"num_tokens": 7}, {})
    assert found == Cost(2 * 7 * 4096, "float32", 57_344, 57_344)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition("relu2")
    axes = {**made.axes, "intermediate_size": var()}
    sizes = {"num_tokens": 1, "intermediate_size": 4}
    assert fibcore_cost(attrs.evolve(made, axes=axes), sizes, {}) is None
