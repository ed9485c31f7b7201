"""Costs of lightning attention, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition
from fibcore_op_lightning import fibcore_cost

Make = Callable[..., Definition]

ROW = 8 * 128
STATE = ROW * 128


def test_of_a_cache_the_states_of_the_batch_count(definition: Make) -> None:
    made, axes = definition(), {"batch_size": 5, "state_cache_size": 20}

    def counted(rows: int) -> Cost:
        read = 5 * (3 * 4 * ROW + 4) + 8 * 4 + 4 * rows * STATE
        return Cost(5 * 5 * STATE, "float32", read, 4 * rows * STATE + 5 * 4 * ROW)

    assert fibcore_cost(made, axes, {"state_batch_indices": [3, 9, -1, -1, 0]}) == counted(3)
    found = fibcore_cost(made, axes, {})
    assert found == attrs.evolve(counted(5), assumes="no row is padding", least=counted(0))


def test_prefill_reads_states_once(definition: Make) -> None:
    axes = {"total_seq_len": 100, "num_seqs": 3, "len_cu_seqlens": 4}
    states = 4 * 3 * STATE
    read = 100 * 3 * 4 * ROW + states + 8 * 4 + 4 * 8
    found = fibcore_cost(definition("prefill"), axes, {})
    assert found == Cost(5 * 100 * STATE, "float32", read, states + 100 * 4 * ROW)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    other = attrs.evolve(made, outputs={"output": made.outputs["output"]})
    assert fibcore_cost(other, {"batch_size": 1, "state_cache_size": 1}, {}) is None
