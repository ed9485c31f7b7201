"""Programs of one construct each: the evaluator comes to what CPython comes to, or says why not.

`programs/` holds them, a file for each chapter of the language. A program that is unknown on
purpose says why in its heading, and fails here once it is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from differential import Program, agree, compared, programs

from fibcore.model.tree import Alternatives, Unknown

FILES = sorted((Path(__file__).parent / "programs").glob("*.txt"))
PROGRAMS = [
    pytest.param(program, id=f"{file.stem}: {program.name}")
    for file in FILES
    for program in programs(file)
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_evaluator_agrees_with_cpython(program: Program) -> None:
    result = compared(program)
    assert not result.differences, result.differences
    if program.unknown:
        assert result.unknown, "this is known by now: take the mark away"
    else:
        assert not result.unknown, result.unknown


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (True, 1),
        (1, 1.0),
        (0.0, -0.0),
        ([1], (1,)),
        ({1: 2, 3: 4}, {3: 4, 1: 2}),
        ({1}, {True}),
        ({1}, frozenset((1,))),
        ("1", 1),
        ([1, 2], [1]),
        (None, False),
        ({"a": [1]}, {"a": [2]}),
        ([1], [Unknown("x"), 1]),
        (1, Alternatives((2, 3))),
    ],
)
def test_the_comparison_tells_values_apart(expected: Any, got: Any) -> None:
    assert agree(expected, expected)
    assert not agree(expected, got)


def test_what_is_not_known_agrees_with_anything() -> None:
    assert agree(1, Unknown("x"))
    assert agree([1, 2], [1, Unknown("x")])
    assert agree(1, Alternatives((1, 2)))
