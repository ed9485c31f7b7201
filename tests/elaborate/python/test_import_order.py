"""In which order statements of a module run, whichever of its names is asked for first."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

SOURCES = {
    "a name that is bound twice": "a = 1\nb = a + 1\na = 5\nc = a\n",
    "a list that grows": "a = [1]\nb = len(a)\na.append(2)\nc = len(a)\n",
    "a table that a decorator fills": (
        "a = {}\n"
        "def enter(f):\n    a[f.__name__] = 1\n    return f\n"
        "@enter\ndef f(): pass\n"
        "b = len(a)\n"
        "@enter\ndef g(): pass\n"
        "c = len(a)\n"
    ),
    "a global that functions change": (
        "a = 0\ndef f():\n    global a\n    a += 1\n    return a\nb = f()\nc = f()\n"
    ),
    "an object with a state": (
        "class C:\n"
        "    def __init__(self):\n        self.n = 0\n"
        "    def up(self):\n        self.n += 1\n        return self.n\n"
        "o = C()\na = o.up()\nb = o.up()\nc = o.up()\n"
    ),
    "a class that is changed": (
        "class C:\n    n = 1\nclass D(C):\n    m = C.n\na = C.n\nC.n = 7\nb = D.m\nc = D.n\n"
    ),
    "a branch that binds nothing": (
        "a = 1\na = 2\nb = 0\nif b:\n    a = 3\n    c = 4\nelse:\n    c = 5\n"
    ),
    "names that one statement binds": "a = 1\nb, c = 2, a\na, b = b, a\n",
    "a default value": "a = 1\ndef f(v=a):\n    return v\nb = f()\na = 2\nc = f() + a\n",
    "a class attribute that methods change": (
        "class C:\n    t = []\n    @classmethod\n    def add(cls, v):\n        cls.t.append(v)\n"
        "        return len(cls.t)\na = C.add(1)\nb = C.add(2)\nc = list(C.t)\n"
    ),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("order", [*itertools.permutations("abc")], ids="".join)
def test_names_are_what_python_binds_them_to(plain: Any, source: str, order: str) -> None:
    expected: dict[str, Any] = {}
    exec(source, expected)  # noqa: S102 - the sources above
    plain.write("made.py", source)
    evaluator = plain.fresh()
    found = {name: evaluator.value("made", name) for name in order}
    assert found == {name: expected[name] for name in order}


def test_what_nobody_asks_for_is_not_run(plain: Any) -> None:
    plain.write("made.py", "a = 1\nb = nowhere\nclass C:\n    d = nowhere\n    e = 2\n")
    evaluator = plain.fresh()
    assert evaluator.value("made", "a") == 1
    assert evaluator.modules.space("made").done == {0}


def test_names_that_are_made_of_each_other_take_few_steps(plain: Any) -> None:
    names = [f"n{i}" for i in range(24)]
    lines = [f"{name} = [{number}]" for number, name in enumerate(names)]
    lines += [f"{name} = [{', '.join(names)}]" for name in names]
    plain.write("made.py", "\n".join(lines))
    evaluator = plain.fresh()
    assert len(evaluator.value("made", "n0")) == len(names)
    assert evaluator.budget.steps < 500_000
