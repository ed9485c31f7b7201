"""Costs of rotary position embeddings, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_rope import fibcore_cost

Make = Callable[..., Definition]

SIZES = {"num_tokens": 7, "num_qo_heads": 8, "num_kv_heads": 2, "max_seq_len": 100}
HEADS = 7 * 10 * 128 * 2  # bytes of queries and keys
OPERATIONS = 3 * 7 * 10 * 64
ROW = 64 * 4
POSITIONS = 7 * 8


def test_rows_of_the_table_that_are_used_count(definition: Make) -> None:
    found = fibcore_cost(definition("neox", 128, 64), SIZES, {"positions": [3, 3, 4, 5, 5, 5, 3]})
    assert found == Cost(OPERATIONS, "float32", HEADS + POSITIONS + 3 * ROW, HEADS)


def test_without_positions_every_token_has_its_own(definition: Make) -> None:
    found = fibcore_cost(definition("gptj", 128, 64), SIZES, {})
    least = Cost(OPERATIONS, "float32", HEADS + POSITIONS + ROW, HEADS)
    assert found == Cost(
        OPERATIONS,
        "float32",
        HEADS + POSITIONS + 7 * ROW,
        HEADS,
        "every token has a position of its own",
        least,
    )


def test_no_more_rows_are_read_than_there_are(definition: Make) -> None:
    found = fibcore_cost(definition("neox", 128, 64), {**SIZES, "max_seq_len": 5}, {})
    assert found is not None
    assert found.bytes_read == HEADS + POSITIONS + 5 * ROW


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "rotary_dim": var()}
    assert fibcore_cost(attrs.evolve(made, axes=axes), {**SIZES, "rotary_dim": 4}, {}) is None
