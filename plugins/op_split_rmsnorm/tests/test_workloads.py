"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_split_rmsnorm import fibcore_workloads

np = pytest.importorskip("numpy")

Make = Callable[..., Definition]


@pytest.mark.parametrize("form", ["sums", "apply"])
def test_tokens_from_one_to_8192(definition: Make, form: str) -> None:
    found = fibcore_workloads(definition(form), {}, 0)
    assert [case.axes["num_tokens"] for case in found] == [2**i for i in range(14)]


def test_sums_are_those_of_ranks_and_about_epsilon(definition: Make) -> None:
    cases = fibcore_workloads(definition("apply"), {}, 0)
    tensors = cases[3].tensors()
    assert list(cases[-1].tensors()) == ["sums"]
    sums = tensors["sums"]
    assert sums.shape == (2, 8)
    assert sums.dtype == np.float32
    means = sums / (np.array([[1536], [256]]) * 4)
    assert ((means[:, 1::2] > 0.4) & (means[:, 1::2] < 2.1)).all()
    assert ((means[:, ::2] > 4e-7) & (means[:, ::2] < 2.1e-6)).all()
    for row, name in enumerate(("q", "k")):  # a rank's part is about as large as the whole
        squares = (tensors[name] ** 2).mean(-1)
        assert np.allclose(squares, means[row], rtol=0.3)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = attrs.evolve(definition(), outputs={"sum": definition().outputs["sums"]})
    assert fibcore_workloads(made, {}, 0) == ()
