"""The names that are a function's own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fibcore.elaborate.python.index import SourceModule
from fibcore.elaborate.python.local_names import local_names


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("a = 1", "a"),
        ("a.b = 1\na[0] = 2", ""),
        ("a, (b, *c) = 1, 2", "a b c"),
        ("for a in b: c = a", "a c"),
        ("[a for a in b]", ""),
        ("[(a := c) for b in c]", "a"),
        ("global a\na = 1\nb = 1", "b"),
        ("nonlocal a\na += 1", ""),
        ("import a.b, c as d\nfrom e import f as g, h", "a d g h"),
        ("def a():\n        b = 1", "a"),
        ("class a:\n        b = 1", "a"),
        ("lambda a: (b := 1)", ""),
        ("try: pass\n    except E as a: pass", "a"),
        ("with a as b, c as (d, e): pass", "b d e"),
        ("del a", "a"),
        ("match a:\n        case [b, *c]: pass\n        case {'k': d, **e}: pass", "b c d e"),
    ],
)
def test_names_that_a_body_binds(body: str, names: str) -> None:
    text = "    " + body.replace("\n", "\n    ") if "\n    " not in body else "    " + body
    node = ast.parse(f"def f():\n{text}\n").body[0]
    module = SourceModule("m", Path("m.py"), "m.py", is_package=False)
    module.__dict__["text"] = text
    assert local_names(node, module) == frozenset(names.split())
