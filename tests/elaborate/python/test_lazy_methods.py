"""Classes whose methods are parsed later come to the same syntax as a parse of them whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fibcore.elaborate.python import lazy_methods
from fibcore.elaborate.python.index import SourceModule
from fibcore.errors import SourceError


def source(text: str) -> SourceModule:
    made = SourceModule("m", Path("m.py"), "m.py", is_package=False)
    made.__dict__["text"] = text
    return made


def nodes(module: SourceModule) -> list[ast.stmt]:
    return [node for statement in module.statements for node in statement.nodes]


def places(tree: list[ast.stmt]) -> Iterator[tuple[str, int, int]]:
    """All nodes with where they begin."""
    for node in (inner for top in tree for inner in ast.walk(top)):
        if isinstance(node, (ast.stmt, ast.expr)):
            yield type(node).__name__, node.lineno, node.col_offset


def held_against_a_parse(text: str) -> int:
    """Compare; returns how many methods were put off."""
    whole = ast.parse(text).body
    mine = nodes(source(text))
    later = sum(
        isinstance(member, lazy_methods.FunctionDef)
        for node in mine
        if isinstance(node, ast.ClassDef)
        for member in node.body
    )
    assert [ast.dump(node) for node in mine] == [ast.dump(node) for node in whole]
    assert list(places(mine)) == list(places(whole))
    return later


PLAIN = '''
import os

@decorated
class A(B, metaclass=C):
    """Text.

    def no_method(self):
        pass
    """

    x: int = 1
    y = (
        1,
    )

    # A comment.
    def __init__(self, a, *, b=1):
        """More text."""
        self.a = a

        # def commented(self): pass
        self.b = [
            b,
        ]
    @property
    @other(1)
    def many(
        self, a: int = 1,
        *rest: str,
    ) -> dict[str, int]:
        def inner():
            return a
        return inner()

    if x:
        def conditional(self):
            return 1
    else:
        z = 2

    async def later(self):
        return 1

    def short(self): return 2

    def told(self):  # with a comment
        return f"""
    def in_a_text(self):
        pass
        """

    class Inner:
        def method(self):
            return 3

    def last(self):
        return super().last()


def after():
    return A
'''


@pytest.fixture(autouse=True)
def _all_classes_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_methods, "LONG", 0)


def test_all_layouts_of_members() -> None:
    assert held_against_a_parse(PLAIN) == 3


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n  def f(self):\n    def g():\n      return 1\n    return g\n",
        "class A:\n\tdef f(self):\n\t\treturn 1\n",
        "class A:\n        def f(self):\n            return 1\n",
        "class A:\n    def f(self, a={1:\n        2}):\n        return a\n",
        "class A:\n    x = '''\n    def f(self):\n        '''\n    def g(self):\n        1\n",
        "class A:\n    def f(self):\n        x = '''\n    def g(self): 1\n        '''\n",
        "class A:\n    def f(self):\n        x = 'a\\\n    def g(self):'\n        return x\n",
        "class A:\n    def f(self):\n        x = (1,\n    2)\n        return x\n",
        "class A:\n    def f(self):\n        return 1\n    # end\n\n\n",
        "class A:\n    def f(self):\n        return 1",
        "class A:\n    def f(self): pass\n    def f(self):\n        return 2\n    x = 1; y = 2\n",
        "class A:\n    def f(\n        self):\n        return 1\n",
        "class A:\n    def f(self\n    ):\n        '''text'''\n",
    ],
)
def test_layouts_that_are_not_a_formatters(text: str) -> None:
    held_against_a_parse(text)


def test_a_method_is_parsed_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = source(
        "class A:\n    def f(self):\n        return 1\n    def g(self):\n        return 2\n"
    )
    (node,) = nodes(module)
    assert isinstance(node, ast.ClassDef)
    f, g = node.body
    parsed = []
    monkeypatch.setattr(
        ast, "parse", lambda text: parsed.append(text) or compile(text, "", "exec", 1024)
    )
    assert isinstance(f, ast.FunctionDef)
    assert f.body is f.body
    assert len(parsed) == 1
    assert ast.unparse(g) == "def g(self):\n    return 2"


def test_a_body_that_does_not_parse_is_an_error_that_names_the_file() -> None:
    (node,) = nodes(source("class A:\n    def f(self):\n        return return\n"))
    assert isinstance(node, ast.ClassDef)
    method = node.body[0]
    assert isinstance(method, ast.FunctionDef)
    with pytest.raises(SourceError, match=r"m\.py:3"):
        _ = method.body
