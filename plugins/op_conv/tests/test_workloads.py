"""Workloads of causal convolutions."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_conv import fibcore_workloads

np = pytest.importorskip("numpy")

Make = Callable[..., Definition]


def test_updates_have_batches_and_places(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    assert [case.axes["batch_size"] for case in found] == [2**i for i in range(9)]
    for case in found:
        places = case.tensors()["conv_state_indices"]
        assert places.dtype == np.int32
        assert len(set(places.tolist())) == case.axes["batch_size"] == len(places)
        assert case.axes["state_cache_size"] == len(places) + 3 > max(places)


def test_prompts_have_offsets(definition: Make) -> None:
    found = fibcore_workloads(definition("prefill"), {}, 0)
    for case in found:
        offsets = case.tensors()["cu_seqlens"]
        assert offsets.dtype == np.int64
        assert len(offsets) == case.axes["len_cu_seqlens"] == case.axes["num_seqs"] + 1
        assert offsets[-1] == case.axes["total_seq_len"]
        assert (np.diff(offsets) > 0).all()
    assert max(case.axes["total_seq_len"] for case in found) > 8000


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    other = attrs.evolve(made, outputs={"output": made.outputs["output"]})
    assert fibcore_workloads(other, {}, 0) == ()
