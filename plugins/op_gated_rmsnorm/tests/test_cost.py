"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_gated_rmsnorm import fibcore_cost

Make = Callable[..., Definition]


def test_rows_gate_and_weight_are_moved_once(definition: Make) -> None:
    # 7 rows of 4096 in 2 bytes are read twice and written once; the weight is read.
    read, written = 2 * 57_344 + 8_192, 57_344
    for changed, each in (
        ({}, 9),
        ({"norm_before_gate": False}, 9),
        ({"activation": "sigmoid"}, 8),
    ):
        found = fibcore_cost(definition(hidden_size=4096, **changed), {"batch_size": 7}, {})
        assert found == Cost(7 * 4096 * each, "float32", read, written)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "hidden_size": var()}
    sizes = {"batch_size": 1, "hidden_size": 4}
    assert fibcore_cost(attrs.evolve(made, axes=axes), sizes, {}) is None
    assert (
        fibcore_cost(
            attrs.evolve(made, reference="def run(hidden_states, gate, weight):\n    pass\n"),
            sizes,
            {},
        )
        is None
    )
