"""Syntax that changes nothing but what it makes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.pure import Seen, changes_nothing, is_pure
from fibcore.model.tree import Alternatives, Unknown


def run(text: str, folder: Path, *args: Any) -> tuple[Any, int]:
    """What `run` gives, and the steps that it takes."""
    folder.joinpath("m.py").write_text(text)
    ev = Evaluator(ModuleIndex(folder))
    return ev.call("m", "run", *args), ev.budget.steps


def test_a_set_of_what_many_equal_items_say(tmp_path: Path) -> None:
    text = (
        "def run(layers):\n"
        "    return {int(x.get('size', 1)) for x in layers.values() if x['kind'].upper() != 'B'}\n"
    )
    kinds = ({"kind": "a", "size": "16"}, {"kind": "b", "size": 3}, {"kind": "c"})
    layers = {f"layer.{n}": dict(kinds[n % 3]) for n in range(30_000)}
    found, steps = run(text, tmp_path, layers)
    assert found == {16, 1}
    assert steps < 4 * len(layers)  # one by one it would be more than ten times as many


def test_items_that_are_equal_and_no_equals() -> None:
    seen = Seen()
    assert not seen.has({"a": 1})
    assert seen.has({"a": 1})
    assert not seen.has({"a": True})
    assert not seen.has({"a": 1.0})
    assert not seen.has({"a": [1]})
    assert not seen.has({"a": [1]})
    assert not seen.has([1])


@pytest.mark.parametrize(
    ("text", "pure"),
    [
        ("{x.get('a', 1) for x in y}", True),
        ("{int(x['a']) + 1 for x in y.values() if x['b'].upper() in ('A', 'B')}", True),
        ("{f(x) for x in y}", False),
        ("{x.pop() for x in y}", False),
        ("{(z := x) for x in y}", False),
        ("{a for x in y for a in x}", False),
        ("{x.get(*a) for x in y}", False),
    ],
)
def test_sets_that_follow_from_their_items(text: str, pure: bool) -> None:
    node = ast.parse(text, mode="eval").body
    assert isinstance(node, ast.SetComp)
    assert is_pure(node) is pure


FLAT = """
def flat(x):
    if isinstance(x, list):
        return [b for a in x for b in flat(a)]
    return [x]

def run(x):
    return flat(x)
"""


def test_a_recursion_over_something_unknown_ends(tmp_path: Path) -> None:
    assert run(FLAT, tmp_path, [1, [2, [3, []]]])[0] == [1, 2, 3]
    found, steps = run(FLAT, tmp_path, Unknown("given"))
    assert isinstance(found, (Unknown, Alternatives))
    assert steps < 1000


@pytest.mark.parametrize(
    ("body", "nothing"),
    [
        ("return [x]", True),
        ("return f(x[0]) if len(x) else None", True),
        ("x.append(1)", False),
        ("x[0] = 1", False),
        ("x.a = 1", False),
        ("global y\n    y = 1", False),
        ("g(x)", False),
        ("raise x", False),
        ("x += [1]", False),
    ],
)
def test_functions_that_change_nothing(body: str, nothing: bool) -> None:
    node = ast.parse(f"def f(x):\n    {body}\n").body[0]
    assert isinstance(node, ast.FunctionDef)
    assert changes_nothing(node) is nothing
