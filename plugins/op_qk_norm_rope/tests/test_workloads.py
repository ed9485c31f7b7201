"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_qk_norm_rope import fibcore_workloads

np = pytest.importorskip("numpy")

Make = Callable[..., Definition]


def test_tokens_from_one_to_8192(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    assert [case.axes["num_tokens"] for case in found] == [2**i for i in range(14)]
    for case in found:
        tensors = case.tensors()
        positions = tensors["positions"]
        assert positions.shape == (3, case.axes["num_tokens"])
        assert positions.dtype == np.int64
        assert 0 <= positions.min() <= positions.max() < case.axes["max_seq_len"]
        assert tensors["axis_map"].tolist()[:4] == [0, 1, 2, 0]


def test_one_position_has_no_map(definition: Make) -> None:
    cases = fibcore_workloads(definition(sections=None, has_gate=False), {}, 0)
    assert {name: value.shape for name, value in cases[3].tensors().items()} == {
        "positions": (8,),
        "q": (8, 16, 256),
        "k": (8, 2, 256),
    }
    assert list(cases[-1].tensors()) == ["positions"]


def test_heads_of_every_second_of_few_tokens_are_about_epsilon(definition: Make) -> None:
    tensors = fibcore_workloads(definition(), {}, 0)[3].tensors()
    assert tensors["q_gate"].shape == (8, 16, 512)
    for name in ("q_gate", "k"):
        squares = (tensors[name] ** 2).mean((-1, -2))
        assert all(0.5 < value < 2 for value in squares[1::2])
        assert all(1e-6 < value < 1e-5 for value in squares[0::2])


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = attrs.evolve(definition(), outputs={"q_out": definition().outputs["q_out"]})
    assert fibcore_workloads(made, {}, 0) == ()
