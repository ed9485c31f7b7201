"""Workloads of embeddings."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Definition, scalar
from fibcore_op_embedding import fibcore_workloads

Make = Callable[..., Definition]


def test_tokens_from_one_to_8192(definition: Make) -> None:
    found = fibcore_workloads(definition(1, 256, 64), {}, 0)
    assert [case.axes for case in found] == [{"num_tokens": 2**i} for i in range(14)]
    ids = found[13].tensors()["input_ids"]
    assert ids.dtype.name == "int64"
    assert set(ids.tolist()) == set(range(256))
    assert not found[0].scalars


def test_a_part_has_tokens_of_the_other_ranks(definition: Make) -> None:
    made = definition(4, 250, 64)  # padded to 256: 64 rows a rank
    found = fibcore_workloads(made, {"total_vocab_size": 250}, 0)
    assert all(case.scalars == {"vocab_start_index": 64} for case in found)
    ids = set(found[13].tensors()["input_ids"].tolist())
    assert ids == set(range(250))
    for case in found[:3]:
        assert set(case.tensors()["input_ids"].tolist()) <= set(range(64, 128))
    unknown = fibcore_workloads(made, {}, 0)
    assert set(unknown[13].tensors()["input_ids"].tolist()) == set(range(256))


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    inputs = {**made.inputs, "scale": scalar("float32")}
    reference = "def run(input_ids, weight, scale):\n    pass\n"
    assert fibcore_workloads(attrs.evolve(made, inputs=inputs, reference=reference), {}, 0) == ()
