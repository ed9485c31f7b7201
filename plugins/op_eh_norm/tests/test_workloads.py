"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Definition
from fibcore_op_eh_norm import fibcore_workloads

Make = Callable[..., Definition]


def test_rows_from_one_to_8192(definition: Make) -> None:
    found = fibcore_workloads(definition(), {}, 0)
    assert [case.axes["batch_size"] for case in found] == [2**i for i in range(14)]


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    assert fibcore_workloads(attrs.evolve(definition(), op_type="other"), {}, 0) == ()
