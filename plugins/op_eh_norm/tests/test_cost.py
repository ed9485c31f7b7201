"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_eh_norm import fibcore_cost

Make = Callable[..., Definition]


def test_rows_and_weights_are_moved_once(definition: Make) -> None:
    # 7 rows of 8192 in 2 bytes are read and written; two weights have 2 bytes an element.
    found = fibcore_cost(definition(), {"batch_size": 7}, {})
    assert found == Cost(4 * 7 * 8192, "float32", 114_688 + 16_384, 114_688)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "hidden_size": var()}
    sizes = {"batch_size": 1, "hidden_size": 4}
    assert fibcore_cost(attrs.evolve(made, axes=axes), sizes, {}) is None
