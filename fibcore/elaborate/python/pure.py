"""Syntax that changes nothing but what it makes.

A checkpoint's config describes each of tens of thousands of layers, in the same few ways; the set
of what they say needs each of those once. And a function that calls itself with something unknown
would go on until calls nest too deeply; one that changes nothing need not be followed that far.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from fibcore.syntax import walk

_METHODS = frozenset((
    "endswith", "get", "items", "keys", "lower", "lstrip", "rstrip", "startswith", "strip", "upper",
    "values",
))  # fmt: skip
_BUILTINS = frozenset(("int", "str", "float", "bool", "len", "tuple", "frozenset", "abs"))
_SYNTAX = (
    ast.SetComp, ast.GeneratorExp, ast.comprehension, ast.Call, ast.Attribute, ast.Name,
    ast.Constant, ast.Subscript, ast.Tuple, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp,
    ast.IfExp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_SCALARS = (str, int, float, bool, type(None))
_LARGE = 32
"""Entries of a dict that is not compared with others."""
_QUESTIONS = frozenset(
    ("isinstance", "range", "list", "set", "dict", "min", "max", "sum", "sorted")
)
ANYTHING = frozenset(("BaseException",))
"""What a context swallows that swallows whatever is raised."""
_CHANGES = (
    ast.Global, ast.Nonlocal, ast.Delete, ast.Yield, ast.YieldFrom, ast.Await, ast.Raise, ast.Try,
    ast.With, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.Assert,
    ast.AugAssign, ast.While,
)  # fmt: skip


def is_pure(node: ast.SetComp | ast.GeneratorExp) -> bool:
    """Whether what one clause gives follows from its items alone, by syntax; remembered on it."""
    known: bool | None = getattr(node, "is_pure", None)
    if known is None:
        known = len(node.generators) == 1 and all(
            isinstance(part, _SYNTAX) and (not isinstance(part, ast.Call) or _is_plain_call(part))
            for part in walk(node)
        )
        node.is_pure = known  # type: ignore[union-attr]
    return known


def _is_plain_call(node: ast.Call) -> bool:
    if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in _METHODS
    return isinstance(node.func, ast.Name) and node.func.id in _BUILTINS


def changes_nothing(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Whether a function calls only itself and builtins that ask, and stores nowhere but in names.

    By syntax; remembered on it.
    """
    known: bool | None = getattr(node, "changes_nothing", None)
    if known is None:
        own = "" if isinstance(node, ast.Lambda) else node.name
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        known = not any(_may_change(part, own) for s in body for part in walk(s))
        node.changes_nothing = known  # type: ignore[union-attr]
    return known


def _may_change(part: ast.AST, function: str) -> bool:
    if isinstance(part, ast.Call):
        func = part.func
        return not isinstance(func, ast.Name) or not (
            func.id == function or func.id in _BUILTINS | _QUESTIONS
        )
    if isinstance(part, (ast.Attribute, ast.Subscript)):
        return not isinstance(part.ctx, ast.Load)
    return isinstance(part, _CHANGES)


def says_nothing(node: ast.AST) -> bool:
    """Whether a function certainly gives None or False, by syntax; remembered on it."""
    known: bool | None = getattr(node, "says_nothing", None)
    if known is None:
        known = isinstance(node, ast.FunctionDef) and not any(
            isinstance(part, (ast.Yield, ast.YieldFrom))
            or (isinstance(part, ast.Return) and not _is_false(part.value))
            for part in walk(node)
        )
        node.says_nothing = known  # type: ignore[attr-defined]
    return known


def _is_false(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and not value.value)


def handled_in(node: ast.AST) -> frozenset[str]:
    """The names of the exceptions that a function handles in its body; remembered on it."""
    known: frozenset[str] | None = getattr(node, "handled_in", None)
    if known is None:
        names: set[str] = set()
        for part in walk(node):
            if isinstance(part, ast.ExceptHandler):
                names |= set(names_of_handler(part))
            elif isinstance(part, ast.With):
                names |= ANYTHING
        known = frozenset(names)
        node.handled_in = known  # type: ignore[attr-defined]
    return known


def names_of_handler(handler: ast.ExceptHandler) -> Iterator[str]:
    """The names of the exceptions that a handler catches, as they are written."""
    if handler.type is None:
        yield "BaseException"
        return
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    for kind in types:
        yield ast.unparse(kind).rpartition(".")[2]


class Seen:
    """The items that a comprehension has gone through, where they are plain dicts or scalars."""

    def __init__(self) -> None:
        self._keys: set[Any] = set()

    def has(self, item: Any) -> bool:
        """Whether an equal item, of the same types throughout, came before; if not, it has now."""
        if type(item) is not dict or len(item) > _LARGE:
            return False
        parts: list[Any] = []
        for key, value in item.items():
            if not isinstance(key, str) or not isinstance(value, _SCALARS):
                return False
            parts.append((str.__str__(key), type(value), value))
        mark = tuple(parts)
        if mark in self._keys:
            return True
        self._keys.add(mark)
        return False
