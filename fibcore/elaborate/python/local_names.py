"""The names that are a function's own: those that its body binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fibcore.syntax import children

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_EMPTY: frozenset[str] = frozenset()


def local_names(node: ast.AST) -> frozenset[str]:
    """The names that the body of a function binds; remembered on its syntax.

    Python looks such a name up nowhere else, even where it is not bound yet.
    """
    known: frozenset[str] | None = getattr(node, "local_names", None)
    if known is None:
        known = _found(node)
        node.local_names = known  # type: ignore[attr-defined]
    return known


def _found(node: ast.AST) -> frozenset[str]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return _EMPTY
    bound: set[str] = set()
    others: set[str] = set()
    for statement in node.body:
        for kind, name in _bindings(statement, inside=False):
            (bound if kind == "bound" else others).add(name)
    return frozenset(bound - others)


def _bindings(node: ast.AST, *, inside: bool) -> Iterator[tuple[str, str]]:
    """What a piece of syntax does to names; `inside` of a comprehension, only `:=` binds."""
    if isinstance(node, ast.Name):
        if not inside and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield "bound", node.id
        return
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from (("outer", name) for name in node.names)
        return
    if isinstance(node, ast.NamedExpr):
        yield "bound", node.target.id
        yield from _bindings(node.value, inside=inside)
        return
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (("bound", a.asname or a.name.partition(".")[0]) for a in node.names)
        return
    if isinstance(node, _DEFINITIONS):
        yield "bound", node.name
        return
    if isinstance(node, ast.Lambda):
        return
    name = getattr(node, "name", None) or getattr(node, "rest", None)
    if isinstance(name, str) and isinstance(node, (ast.ExceptHandler, ast.pattern)):
        yield "bound", name
    inner = inside or isinstance(node, _COMPREHENSIONS)
    for child in children(node):
        yield from _bindings(child, inside=inner)
