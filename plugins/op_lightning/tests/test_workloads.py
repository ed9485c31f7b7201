"""Workloads of lightning attention."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_lightning import fibcore_workloads
from fibcore_op_lightning.workloads import slopes

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


@pytest.mark.parametrize("form", ["decode", "prefill"])
def test_heads_remember_and_forget(definition: Make, form: str) -> None:
    tensors = fibcore_workloads(definition(form), {}, 0)[0].tensors()
    assert tensors["slope"].tolist() == [0.5 ** (i + 1) for i in range(8)]
    assert slopes(16)[:2] == [2**-0.5, 0.5]


def test_the_scale_is_the_models(definition: Make) -> None:
    assert fibcore_workloads(definition(), {}, 0)[0].scalars == {"scale": 128**-0.5}
    assert fibcore_workloads(definition(), {"scale": 0.25}, 0)[0].scalars == {"scale": 0.25}


def test_prompts_have_offsets(definition: Make) -> None:
    found = fibcore_workloads(definition("prefill"), {}, 0)
    for case in found:
        offsets = case.tensors()["cu_seqlens"]
        assert offsets.dtype == np.int64
        assert len(offsets) == case.axes["len_cu_seqlens"] == case.axes["num_seqs"] + 1
        assert offsets[-1] == case.axes["total_seq_len"]
    assert max(case.axes["total_seq_len"] for case in found) > 8000


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    other = attrs.evolve(made, outputs={"output": made.outputs["output"]})
    assert fibcore_workloads(other, {}, 0) == ()
