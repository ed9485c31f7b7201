"""Walks over Python syntax, and written literals."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fibcore.elaborate.python.evaluator
from fibcore.syntax import children, literal, walk

CONTEXTS = (ast.Load, ast.Store, ast.Del)


def test_the_same_as_that_of_the_standard_library_without_contexts() -> None:
    tree = ast.parse(Path(fibcore.elaborate.python.evaluator.__file__).read_text())
    expected = [node for node in ast.walk(tree) if not isinstance(node, CONTEXTS)]
    assert [id(node) for node in walk(tree)] == [id(node) for node in expected]
    for node in expected:
        below = [n for n in ast.iter_child_nodes(node) if not isinstance(n, CONTEXTS)]
        assert [id(n) for n in children(node)] == [id(n) for n in below]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5e-3,
        "it's",
        'a "quote"',
        (1,),
        [],
        {"k": ("x" * 60, "y" * 60)},
        ((9, 0), None),
    ],
)
def test_literals_read_back(value: object) -> None:
    text = literal(value)
    assert ast.literal_eval(text) == value
    assert max(map(len, text.splitlines())) <= 100
