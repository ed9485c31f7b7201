"""Workloads of gated delta rules."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_gdn import fibcore_workloads

np = pytest.importorskip("numpy")

Make = Callable[..., Definition]


def test_decode_has_batches(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    assert [case.axes["batch_size"] for case in found] == [2**i for i in range(9)]
    assert all(case.scalars == {"scale": 128**-0.5} for case in found)
    tensors = found[2].tensors()
    assert list(tensors) == ["A_log", "dt_bias", "b"]
    beta = 1 / (1 + np.exp(-tensors["b"]))
    assert beta.shape == (4, 1, 8)
    # A key of random numbers is as long as the root of its size.
    assert 0.05 < (beta * 128).min() < (beta * 128).max() < 0.95


def test_heads_remember_and_forget(definition: Make) -> None:
    tensors = fibcore_workloads(definition(v_heads=32), {}, 0)[0].tensors()
    steps = np.log1p(np.exp(tensors["dt_bias"]))
    alpha = np.exp(-np.exp(tensors["A_log"]) * steps)
    assert 0.15 < alpha.min() < 0.9
    assert 0.97 < alpha.max() < 1


def test_keys_that_the_kernel_normalises_need_no_small_beta(definition: Make) -> None:
    tensors = fibcore_workloads(definition("decode", "channel"), {}, 0)[0].tensors()
    assert {n: t.shape for n, t in tensors.items()} == {"A_log": (8,), "dt_bias": (8, 128)}


def test_places_of_the_pool_are_different(definition: Make) -> None:
    for case in fibcore_workloads(definition("mtp"), {}, 0):
        places = case.tensors()["initial_state_indices"]
        assert places.dtype == np.int32
        assert len(set(places.tolist())) == case.axes["batch_size"] == len(places)
        assert case.axes["pool_size"] == len(places) + 3 > max(places)
        assert case.axes["seq_len"] > 1


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
