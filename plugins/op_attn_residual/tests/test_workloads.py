"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_attn_residual import fibcore_workloads

np = pytest.importorskip("numpy")

Make = Callable[..., Definition]


def test_tokens_from_one_to_8192_with_several_numbers_of_streams(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    assert [case.axes["num_tokens"] for case in found] == [2**i for i in range(14)]
    assert {case.axes["num_blocks"] for case in found} == {1, 4, 8}
    weight = found[0].tensors()["score_weight"]
    assert weight.dtype == np.float32
    assert 0.9 < (weight**2).sum() < 1.1


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    assert fibcore_workloads(attrs.evolve(definition(), op_type="other"), {}, 0) == ()
