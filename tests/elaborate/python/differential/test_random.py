"""Random programs: the evaluator knows what CPython comes to, or does not know.

Continuous integration writes the same programs each time; `nox -s differential` writes new ones,
and more of them.
"""

from __future__ import annotations

import os
import random

import pytest
from differential import Program, compared
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from random_programs import Writer

MORE = int(os.environ.get("FIBCORE_RANDOM_PROGRAMS", "0"))
"""How many new programs a session writes; 0 for the same few each time."""
FEW = settings(max_examples=150, derandomize=True, database=None)
MANY = settings(max_examples=max(MORE, 1), print_blob=True)
SEEDS = 600
SHARE_KNOWN = 0.97
"""Least share of names whose values are known: a comparison with the unknown shows nothing."""


@st.composite
def random_program(draw: st.DrawFn) -> Program:
    """A program whose every choice Hypothesis makes, so that it finds the smallest that fails."""
    return Writer(lambda count: draw(st.integers(0, count - 1))).program()


@settings(
    MANY if MORE else FEW,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@example(Program("empty", "pass"))
@given(random_program())
def test_no_value_differs(program: Program) -> None:
    result = compared(program)
    assert not result.differences, f"{result.differences}\n{program.source}"


@pytest.mark.parametrize("part", range(4))
def test_most_values_are_known_and_none_differs(part: int) -> None:
    known = unknown = 0
    for seed in range(part, SEEDS, 4):
        numbers = random.Random(seed)  # noqa: S311 - no secret
        result = compared(Writer(numbers.randrange).program())
        assert not result.differences, f"seed {seed}: {result.differences}"
        known += result.known
        unknown += len(result.unknown)
    assert known >= SHARE_KNOWN * (known + unknown)
