"""Costs of gated delta rules, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition
from fibcore_op_gdn import fibcore_cost

Make = Callable[..., Definition]

STATE = 8 * 128 * 128
# Of a token: query, key and value heads, a and b; and the output.
TOKEN = 2 * (128 * (4 + 4 + 8) + 8 + 8)
OUTPUT = 2 * 128 * 8
GATES = 4 * (8 + 8)


def test_decode_reads_and_writes_states(definition: Make) -> None:
    found = fibcore_cost(definition(), {"batch_size": 5}, {})
    states = 5 * STATE * 4
    read = 5 * TOKEN + GATES + states
    assert found == Cost(7 * 5 * STATE, "float32", read, states + 5 * OUTPUT)


def test_prefill_reads_states_once(definition: Make) -> None:
    axes = {"total_seq_len": 100, "num_seqs": 3, "len_cu_seqlens": 4}
    found = fibcore_cost(definition("prefill"), axes, {})
    states = 3 * STATE * 4
    read = 100 * TOKEN + GATES + states + 4 * 8
    assert found == Cost(7 * 100 * STATE, "float32", read, states + 100 * OUTPUT)


def test_of_a_pool_the_states_of_the_batch_count(definition: Make) -> None:
    made, axes = definition("mtp"), {"batch_size": 3, "seq_len": 4, "pool_size": 10}

    def counted(rows: int) -> Cost:
        read = 12 * TOKEN + GATES + 3 * 4 + rows * STATE * 4
        return Cost(7 * 4 * rows * STATE, "float32", read, rows * STATE * 4 + 12 * OUTPUT)

    assert fibcore_cost(made, axes, {"initial_state_indices": [4, -1, 0]}) == counted(2)
    found = fibcore_cost(made, axes, {})
    assert found == attrs.evolve(counted(3), assumes="no row is padding", least=counted(0))


def test_gates_of_channels_are_read(definition: Make) -> None:
    plain, kda = (
        fibcore_cost(definition("decode", gate), {"batch_size": 2}, {})
        for gate in ("head", "channel")
    )
    assert plain is not None
    assert kda is not None
    assert kda.bytes_read - plain.bytes_read == 127 * 8 * (2 * 2 + 4)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    other = attrs.evolve(made, outputs={"output": made.outputs["output"]})
    assert fibcore_cost(other, {"batch_size": 1}, {}) is None
