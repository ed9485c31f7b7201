"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_layernorm import fibcore_cost

Make = Callable[..., Definition]


def test_rows_weight_and_bias_are_moved_once(definition: Make) -> None:
    # 7 rows of 4096 in 2 bytes are read and written; weight and bias have 4 bytes an element.
    found = fibcore_cost(definition(), {"batch_size": 7}, {})
    assert found == Cost(7 * 7 * 4096, "float32", 57_344 + 2 * 16_384, 57_344)


def test_without_parameters_rows_alone_are_moved(definition: Make) -> None:
    found = fibcore_cost(definition("layernorm_no_affine"), {"batch_size": 7}, {})
    assert found == Cost(5 * 7 * 4096, "float32", 57_344, 57_344)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "hidden_size": var()}
    sizes = {"batch_size": 1, "hidden_size": 4}
    assert fibcore_cost(attrs.evolve(made, axes=axes), sizes, {}) is None
