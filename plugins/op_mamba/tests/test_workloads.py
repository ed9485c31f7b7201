"""Workloads of selective state spaces."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_mamba import fibcore_workloads

np = pytest.importorskip("numpy")

Make = Callable[..., Definition]


def test_decode_has_batches_and_places(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    assert [case.axes["batch_size"] for case in found] == [2**i for i in range(9)]
    for case in found:
        places = case.tensors()["state_batch_indices"]
        assert places.dtype == np.int32
        assert len(set(places.tolist())) == case.axes["batch_size"] == len(places)
        assert case.axes["state_cache_size"] == len(places) + 3 > max(places)


def test_heads_share_steps_and_factors_in_a_decode_step(definition: Make) -> None:
    # FlashInfer's kernel reads one number for each head.
    tensors = fibcore_workloads(definition(), {}, 0)[1].tensors()
    assert tensors["dt"].shape == (2, 64, 64)
    assert tensors["D"].shape == (64, 64)
    for name in ("dt", "D"):
        assert (tensors[name] == tensors[name][..., :1]).all()
        assert len(np.unique(tensors[name])) > 32


@pytest.mark.parametrize("form", ["decode", "prefill"])
def test_heads_remember_and_forget(definition: Make, form: str) -> None:
    tensors = fibcore_workloads(definition(form), {}, 0)[0].tensors()
    shape = (64, 64, 128) if form == "decode" else (64,)
    assert tensors["A"].shape == shape
    assert tensors["dt_bias"].shape == shape[:2]
    rates, biases = (tensors[n].reshape(64, -1)[:, 0] for n in ("A", "dt_bias"))
    decay = np.exp(rates * np.log1p(np.exp(biases)))
    assert 0.15 < decay.min() < 0.9
    assert 0.97 < decay.max() < 1


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
