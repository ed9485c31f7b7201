"""The names that are a function's own: those that its body binds."""

from __future__ import annotations

import ast

from fibcore.syntax import children

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_WITHOUT_NAMES = frozenset((ast.Constant, ast.Lambda, ast.Pass, ast.Break, ast.Continue))
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
    # Syntax, and whether it stands inside of a comprehension, where only `:=` binds.
    pending: list[tuple[ast.AST, bool]] = [(statement, False) for statement in node.body]
    while pending:
        one, inside = pending.pop()
        kind = type(one)
        if kind in _WITHOUT_NAMES:
            continue
        if kind is ast.Name:
            if not inside and type(one.ctx) is not ast.Load:  # type: ignore[attr-defined]
                bound.add(one.id)  # type: ignore[attr-defined]
            continue
        if isinstance(one, (ast.Global, ast.Nonlocal)):
            others.update(one.names)
            continue
        if isinstance(one, (ast.Import, ast.ImportFrom)):
            bound.update(a.asname or a.name.partition(".")[0] for a in one.names)
            continue
        if isinstance(one, _DEFINITIONS):
            bound.add(one.name)
            continue
        if isinstance(one, ast.NamedExpr):
            bound.add(one.target.id)
            pending.append((one.value, inside))
            continue
        if isinstance(one, (ast.ExceptHandler, ast.pattern)):
            name = getattr(one, "name", None) or getattr(one, "rest", None)
            if name is not None:
                bound.add(name)
        inner = inside or isinstance(one, _COMPREHENSIONS)
        pending += [(child, inner) for child in children(one)]
    return frozenset(bound - others)
