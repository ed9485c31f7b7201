"""Which of many similar cases a test run takes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

import pytest

T = TypeVar("T")

ALL = "FIBCORE_TEST_ALL"
"""The variable of the environment that asks for every case."""

thorough = pytest.mark.skipif(
    not os.environ.get(ALL), reason=f"one of the long ones: {ALL} is not set (nox -s thorough)"
)
"""The mark of a long test for which others stand in, but where every case is asked for."""


def a_share(cases: Iterable[T], one_in: int) -> list[T]:
    """Some of the cases of a test; all of them where `FIBCORE_TEST_ALL` is set.

    Continuous integration has minutes for the whole suite, and cases that differ by one size or
    one release fail together. `nox -s thorough` runs them all.

    Args:
        cases: The cases, in a fixed order.
        one_in: Every how many-th is taken, from the first on; at least 1.

    Returns:
        The cases to run; never none, unless there are none.
    """
    found = list(cases)
    return found if os.environ.get(ALL) else found[::one_in]
