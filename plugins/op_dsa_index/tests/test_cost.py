"""Costs, counted by hand."""

from __future__ import annotations

import attrs

from fibcore.plugin import Cost, Definition, var
from fibcore_op_dsa_index import fibcore_cost

Small = dict[str, Definition]


def test_stores_write_what_is_stored(small: Small) -> None:
    axes = {"num_tokens": 7, "num_pages": 5, "max_position": 3}
    read = 7 * 32 * 2 + 2 * 32 * 4 + 3 * 12 * 4 + 7 * 8 + 7 * 8
    flops = 7 * (3 * 12 + 10 * 32)
    assert fibcore_cost(small["k_store"], axes, {}) == Cost(flops, "float32", read, 7 * 36)
    none = fibcore_cost(small["k_store"], {**axes, "num_pages": 0}, {})
    assert none is not None
    assert none.bytes_written == 0


def test_queries(small: Small) -> None:
    axes = {"num_tokens": 5, "max_position": 100}
    rows = 5 * 3
    read = rows * 32 * 2 + rows * 2 + 5 * 12 * 4 + 5 * 8
    found = fibcore_cost(small["q"], axes, {})
    assert found is not None
    assert found.flops == rows * (3 * 12 + 3 * 32)
    assert found.bytes_read in (read, read + 4)  # and the factor
    assert found.bytes_written == rows * 32 + rows * 4


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    for made in small.values():
        other = attrs.evolve(made, axes={**made.axes, "more": var()})
        assert fibcore_cost(other, dict.fromkeys(other.axes, 1), {}) is None
