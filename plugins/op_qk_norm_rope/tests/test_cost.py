"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition
from fibcore_op_qk_norm_rope import fibcore_cost

Make = Callable[..., Definition]


def test_heads_are_moved_once_and_rows_that_are_used(definition: Make) -> None:
    axes = {"num_tokens": 7, "num_qo_heads": 16, "num_kv_heads": 2, "max_seq_len": 1000}
    flops = 7 * 18 * (4 * 256 + 3 * 64)
    weights, maps = 2 * 2 * 256, 4 * 32

    def counted(rows: int, positions: int, heads: int, out: int) -> Cost:
        read = 2 * 7 * 256 * heads + weights + rows * 64 * 4 + 8 * positions
        return Cost(flops, "float32", read, 2 * 7 * 256 * out)

    plain = counted(3, 7, 18, 18)
    made = definition(has_gate=False, sections=None)
    assert fibcore_cost(made, axes, {"positions": [1, 1, 1, 2, 2, 2, 3]}) == plain
    gated = counted(21, 21, 34, 34)
    gated = attrs.evolve(gated, bytes_read=gated.bytes_read + maps)
    found = fibcore_cost(definition(), axes, {"positions": list(range(21))})
    assert found == gated
    guessed = fibcore_cost(made, axes, {})
    assert guessed is not None
    assert guessed.assumes == "every token has a position of its own"
    assert guessed.bytes_read == plain.bytes_read + 4 * 64 * 4


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = attrs.evolve(definition(), op_type="rope")
    assert fibcore_cost(made, {"num_tokens": 1}, {}) is None
