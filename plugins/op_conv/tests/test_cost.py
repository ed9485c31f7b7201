"""Costs of causal convolutions, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition
from fibcore_op_conv import fibcore_cost

Make = Callable[..., Definition]

STATE = 2048 * 3 * 2
ROW = 2048 * 2
WEIGHT = 2048 * 4 * 2


def test_of_a_cache_the_states_of_the_batch_count(definition: Make) -> None:
    made, axes = definition(bias=True), {"batch_size": 5, "state_cache_size": 20}

    def counted(rows: int) -> Cost:
        read = 5 * (ROW + 4) + WEIGHT + ROW + rows * STATE
        return Cost(2 * 5 * 2048 * 4, "float32", read, rows * STATE + 5 * ROW)

    assert fibcore_cost(made, axes, {"conv_state_indices": [3, 0, -1, -1, 9]}) == counted(3)
    found = fibcore_cost(made, axes, {})
    assert found == attrs.evolve(counted(5), assumes="no row is padding", least=counted(0))


def test_prefill_reads_states_once(definition: Make) -> None:
    axes = {"total_seq_len": 100, "num_seqs": 3, "len_cu_seqlens": 4}
    read = 100 * ROW + WEIGHT + 3 * STATE + 4 * 8
    found = fibcore_cost(definition("prefill"), axes, {})
    assert found == Cost(2 * 100 * 2048 * 4, "float32", read, 3 * STATE + 100 * ROW)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    other = attrs.evolve(made, outputs={"output": made.outputs["output"]})
    assert fibcore_cost(other, {"batch_size": 1, "state_cache_size": 1}, {}) is None
