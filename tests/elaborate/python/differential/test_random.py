"""Random programs: the evaluator knows what CPython comes to, or does not know.

Continuous integration writes the same programs each time; `nox -s differential` writes new ones,
and more of them.
"""

from __future__ import annotations

import os
import random

import pytest
from differential import Program, compared, compared_together
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from random_programs import Writer

MORE = int(os.environ.get("FIBCORE_RANDOM_PROGRAMS", "0"))
"""How many new programs a session writes; 0 for the same ones each time."""
FIRST = int(os.environ.get("FIBCORE_RANDOM_FIRST", "0"))
"""The seed of the first program."""
SMALLEST = 100
"""Programs of which Hypothesis makes the smallest that differs."""
FUNCTIONS = MORE or 1000
MODULES = FUNCTIONS // 50
"""Programs whose statements are a module's own, which are evaluated each by itself."""
PARTS = 10
TOGETHER = 25
"""Functions of one module."""
SHARE_KNOWN = 0.95
"""Least share of names whose values are known: a comparison with the unknown shows nothing."""


@st.composite
def random_program(draw: st.DrawFn) -> Program:
    """A program whose every choice Hypothesis makes, so that it finds the smallest that fails."""
    return Writer(lambda count: draw(st.integers(0, count - 1))).program()


@settings(
    max_examples=MORE // 20 or SMALLEST,
    derandomize=not MORE,
    database=None,
    print_blob=bool(MORE),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@example(Program("empty", "pass"))
@given(random_program())
def test_no_value_differs(program: Program) -> None:
    result = compared(program)
    assert not result.differences, f"{result.differences}\n{program.source}"


def writer(seed: int) -> Writer:
    """What writes the program of a seed."""
    return Writer(random.Random(seed).randrange)  # noqa: S311 - no secret


@pytest.mark.parametrize("part", range(PARTS))
def test_functions_whose_values_are_known(part: int) -> None:
    seeds = range(FIRST + part, FIRST + FUNCTIONS, PARTS)
    different, known, unknown = {}, 0, 0
    for start in range(0, len(seeds), TOGETHER):
        some = seeds[start : start + TOGETHER]
        results = compared_together([writer(seed).program() for seed in some])
        for seed, result in zip(some, results, strict=True):
            known += result.known
            unknown += len(result.unknown)
            if result.differences:
                different[seed] = result.differences
    assert not different, f"programs of these seeds differ: {different}"
    assert known >= SHARE_KNOWN * (known + unknown)


@pytest.mark.parametrize("part", range(PARTS))
def test_modules(part: int) -> None:
    seeds = range(FIRST + part, FIRST + MODULES, PARTS)
    results = {seed: compared(writer(seed).module()).differences for seed in seeds}
    different = {seed: found for seed, found in results.items() if found}
    assert not different, f"programs of these seeds differ: {different}"
