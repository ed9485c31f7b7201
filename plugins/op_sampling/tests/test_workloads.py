"""Workloads of sampling."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition, scalar
from fibcore_op_sampling import fibcore_workloads

Make = Callable[..., Definition]


def test_rows_with_what_requests_ask_for(definition: Make) -> None:
    cases = fibcore_workloads(definition("top_k_top_p_sampling_from_probs"), {}, 0)
    assert [case.axes["batch_size"] for case in cases] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    tensors = cases[3].tensors()
    assert tensors["top_k"].tolist() == [20, 40, 50, 100] * 2
    assert tensors["top_p"].tolist() == pytest.approx([0.9, 0.95, 0.8, 0.6] * 2)
    # flashinfer-bench makes probabilities of random numbers, for this op type.
    assert set(tensors) == {"top_k", "top_p"}
    assert fibcore_workloads(definition("sampling_from_probs"), {}, 0)[0].tensors() == {}


@pytest.mark.parametrize("stem", ["top_k_renorm_probs", "top_p_renorm_probs"])
def test_what_is_filtered_alone_has_its_probabilities(definition: Make, stem: str) -> None:
    cases = fibcore_workloads(definition(stem, 1000), {}, 0)
    assert [case.axes["batch_size"] for case in cases] == [1, 2, 4]
    probs = cases[-1].tensors()["probs"]
    assert probs.shape == (4, 1000)
    assert probs.sum(axis=-1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert (probs > 0).all()


def test_functions_of_others_are_not_guessed(definition: Make) -> None:
    one = definition("min_p_sampling")
    inputs = {**one.inputs, "seed": scalar("int32")}
    other = attrs.evolve(one, inputs=inputs, reference="def run(probs, min_p, seed):\n    pass\n")
    assert fibcore_workloads(other, {}, 0) == ()
