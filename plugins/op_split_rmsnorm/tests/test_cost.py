"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition
from fibcore_op_split_rmsnorm import fibcore_cost

Make = Callable[..., Definition]

ELEMENTS = 7 * (1536 + 256)


def test_rows_are_moved_once(definition: Make) -> None:
    sums = 2 * 7 * 4
    found = fibcore_cost(definition("sums"), {"num_tokens": 7}, {})
    assert found == Cost(2 * ELEMENTS, "float32", 2 * ELEMENTS, sums)
    read = 2 * ELEMENTS + 2 * (1536 + 256) + sums
    found = fibcore_cost(definition("apply"), {"num_tokens": 7}, {})
    assert found == Cost(2 * ELEMENTS, "float32", read, 2 * ELEMENTS)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = attrs.evolve(definition(), op_type="rmsnorm")
    assert fibcore_cost(made, {"num_tokens": 1}, {}) is None
