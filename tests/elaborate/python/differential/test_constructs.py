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


def wrong(program: Program) -> object:
    """What the evaluator makes of a program and should not; None where all is right."""
    result = compared(program)
    if result.differences:
        return result.differences
    if program.unknown:
        return None if result.unknown else "this is known by now: take the mark away"
    return result.unknown or None


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_evaluator_agrees_with_cpython(file: Path) -> None:
    several = programs(file)
    found = {program.name: wrong(program) for program in several}
    assert len(found) == len(several) > 0
    assert {name: what for name, what in found.items() if what is not None} == {}


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
