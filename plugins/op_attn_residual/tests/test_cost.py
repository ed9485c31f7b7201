"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_attn_residual import fibcore_cost

Make = Callable[..., Definition]


def test_streams_are_read_once(definition: Make) -> None:
    axes = {"num_tokens": 7, "num_blocks": 4}
    row = 7 * 7168 * 2
    found = fibcore_cost(definition(), axes, {})
    assert found == Cost(6 * 7 * 5 * 7168, "float32", 5 * row + 4 * 7168, row)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "hidden_size": var()}
    sizes = {"num_tokens": 1, "num_blocks": 1, "hidden_size": 4}
    assert fibcore_cost(attrs.evolve(made, axes=axes), sizes, {}) is None
