"""Private names of classes."""

from __future__ import annotations

import ast

import pytest

from fibcore.elaborate.python.mangling import PRIVATE, mangle


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("A", "self.__x = __y", "self._A__x = _A__y"),
        ("_A", "self.__x", "self._A__x"),
        ("__", "self.__x", "self.__x"),
        ("A", "self.__x__ + self._y + x.__class__", "self.__x__ + self._y + x.__class__"),
        ("A", "f(__k=1)", "f(_A__k=1)"),
        ("A", "lambda __a: __a", "lambda _A__a: _A__a"),
    ],
)
def test_names_are_written_as_python_knows_them(name: str, text: str, expected: str) -> None:
    node = ast.parse(f"class {name}:\n    {text}\n").body[0]
    assert isinstance(node, ast.ClassDef)
    mangle(node)
    assert ast.unparse(node.body[0]) == expected


def test_inner_classes_have_names_of_their_own() -> None:
    node = ast.parse("class A:\n    class B:\n        self.__x\n    self.__y\n").body[0]
    assert isinstance(node, ast.ClassDef)
    mangle(node)
    assert "_B__x" in ast.unparse(node)
    assert "_A__y" in ast.unparse(node)


def test_modules_without_private_names_are_passed_over() -> None:
    assert PRIVATE.search("self.__init__() + __name__ + a__b") is None
    assert PRIVATE.search("self.__x") is not None
