"""Costs of selective state spaces, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition
from fibcore_op_mamba import fibcore_cost

Make = Callable[..., Definition]

CHANNELS = 64 * 64
STATE = CHANNELS * 128
GROUPS = 2 * 8 * 128 * 2  # bytes of B and C of a token


def test_of_a_cache_the_states_of_the_batch_count(definition: Make) -> None:
    made, axes = definition(), {"batch_size": 5, "state_cache_size": 20}

    def counted(rows: int) -> Cost:
        tokens = 5 * (2 * 2 * CHANNELS + GROUPS + 4)
        read = tokens + 4 * STATE + 2 * 2 * CHANNELS + 2 * rows * STATE
        return Cost(5 * 5 * STATE, "float32", read, 2 * rows * STATE + 5 * 2 * CHANNELS)

    assert fibcore_cost(made, axes, {"state_batch_indices": [3, 9, -1, -1, 0]}) == counted(3)
    found = fibcore_cost(made, axes, {})
    assert found == attrs.evolve(counted(5), assumes="no row is padding", least=counted(0))


def test_prefill_reads_states_once(definition: Make) -> None:
    axes = {"total_seq_len": 100, "num_seqs": 3, "len_cu_seqlens": 4}
    states = 2 * 3 * STATE
    read = 100 * (2 * CHANNELS + 2 * 64 + GROUPS) + 64 * (4 + 2 + 2) + states + 4 * 8
    written = states + 100 * 2 * CHANNELS
    found = fibcore_cost(definition("prefill"), axes, {})
    assert found == Cost(5 * 100 * STATE, "float32", read, written)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    other = attrs.evolve(made, outputs={"output": made.outputs["output"]})
    assert fibcore_cost(other, {"batch_size": 1, "state_cache_size": 1}, {}) is None
