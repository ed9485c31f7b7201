"""Costs of embeddings, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_embedding import fibcore_cost

Make = Callable[..., Definition]

ROW = 64 * 2
AXES = {"num_tokens": 7}
IDS = [3, 3, 4, 130, 130, 200, 3]


def test_rows_that_tokens_have_count_once(definition: Make) -> None:
    found = fibcore_cost(definition(1, 256, 64), AXES, {"input_ids": IDS})
    assert found == Cost(0, "bfloat16", 7 * 8 + 4 * ROW, 7 * ROW)


def test_a_part_reads_its_own_rows(definition: Make) -> None:
    made = definition(2, 256, 64)
    values = {"input_ids": IDS, "vocab_start_index": [128]}
    found = fibcore_cost(made, AXES, values)
    assert found is not None
    assert found.bytes_written == 7 * ROW
    without = fibcore_cost(made, AXES, {"input_ids": [0] * 7, "vocab_start_index": [128]})
    assert without is not None
    assert found.bytes_read - without.bytes_read == 2 * ROW


def test_without_tokens_each_has_its_own_row(definition: Make) -> None:
    found = fibcore_cost(definition(1, 256, 64), AXES, {})
    least = Cost(0, "bfloat16", 7 * 8 + ROW, 7 * ROW)
    assumes = "every token has a row of its own"
    assert found == Cost(0, "bfloat16", 7 * 8 + 7 * ROW, 7 * ROW, assumes, least)
    few = fibcore_cost(definition(1, 256, 64), {"num_tokens": 1000}, {})
    assert few is not None
    assert few.bytes_read == 1000 * 8 + 256 * ROW


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "hidden_size": var()}
    assert fibcore_cost(attrs.evolve(made, axes=axes), {**AXES, "hidden_size": 4}, {}) is None
    weight = attrs.evolve(made.inputs["weight"], dtype="float32")
    other = attrs.evolve(made, inputs={**made.inputs, "weight": weight})
    assert fibcore_cost(other, AXES, {}) is None
