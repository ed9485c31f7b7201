"""Costs of block-sparse attention, counted by hand."""

from __future__ import annotations

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_msa import fibcore_cost

Small = dict[str, Definition]
AXES = {"num_tokens": 2, "num_pages": 100, "max_num_pages": 10}


def test_attention_sees_chosen_blocks(small: Small) -> None:
    found = fibcore_cost(small["attention"], AXES, {"seq_lens": [5, 40]})
    keys = 5 + 3 * 6
    queries = 2 * 4 * 8 * 2
    tables = 4 * (2 + 5)
    lists = 2 * 2 * 3 * 4 + 2 * 4
    assert found == Cost(
        4 * 8 * 4 * keys, "bfloat16", queries + 2 * (2 * 8 * 2 * keys) + tables + lists + 4, queries
    ) or found == Cost(
        4 * 8 * 4 * keys, "bfloat16", queries + 2 * (2 * 8 * 2 * keys) + tables + lists, queries
    )


def test_the_choice_sees_all_keys(small: Small) -> None:
    found = fibcore_cost(small["indexer"], AXES, {"seq_lens": [5, 40]})
    queries = 2 * 2 * 16 * 2
    assert found == Cost(
        2 * 16 * 2 * 45,
        "bfloat16",
        queries + 2 * 16 * 45 + 4 * (2 + 10) + 2 * 4,
        2 * 2 * 3 * 4,
    )


def test_lengths_that_are_not_known(small: Small) -> None:
    for made, keys in ((small["attention"], 18), (small["indexer"], 40)):
        found = fibcore_cost(made, AXES, {})
        full = fibcore_cost(made, AXES, {"seq_lens": [40, 40]})
        assert found is not None
        assert full is not None
        assert (found.flops, found.bytes_read) == (full.flops, full.bytes_read)
        assert found.assumes
        assert found.least is not None
        assert found.flops % keys == 0


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    for made in small.values():
        other = attrs.evolve(made, axes={**made.axes, "more": var()})
        assert fibcore_cost(other, {**AXES, "more": 1}, {}) is None
