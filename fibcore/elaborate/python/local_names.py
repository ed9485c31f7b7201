"""The names that are a function's own: those that its body binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fibcore.syntax import children

if TYPE_CHECKING:
    from fibcore.elaborate.python.index import SourceModule

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_WITHOUT_NAMES = frozenset((ast.Constant, ast.Lambda, ast.Pass, ast.Break, ast.Continue))
_EMPTY: frozenset[str] = frozenset()
# Where statements bind names, expressions without `:=` aside, or hold others that do. Most of a
# body is expressions that bind none.
_BINDING: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Assign: ("targets",),
    ast.AnnAssign: ("target",),
    ast.AugAssign: ("target",),
    ast.Expr: (),
    ast.Return: (),
    ast.Raise: (),
    ast.Assert: (),
    ast.If: ("body", "orelse"),
    ast.For: ("target", "body", "orelse"),
    ast.While: ("body", "orelse"),
    ast.With: ("items", "body"),
    ast.withitem: ("optional_vars",),
    ast.Try: ("body", "handlers", "orelse", "finalbody"),
    ast.ExceptHandler: ("body",),
}


def local_names(node: ast.AST, module: SourceModule) -> frozenset[str]:
    """The names that the body of a function binds; remembered on its syntax.

    Python looks such a name up nowhere else, even where it is not bound yet.

    Args:
        node: The function.
        module: The module that it stands in.
    """
    known: frozenset[str] | None = getattr(node, "local_names", None)
    if known is None:
        known = _EMPTY
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            known = bound_in(node.body, walrus=module.has_walrus)
        node.local_names = known  # type: ignore[attr-defined]
    return known


def _parts(node: ast.AST, *, walrus: bool) -> Iterator[ast.AST]:
    """The parts of syntax that may bind names."""
    fields = None if walrus else _BINDING.get(type(node))
    if fields is None:
        yield from children(node)
        return
    for name in fields:
        part = getattr(node, name)
        if isinstance(part, list):
            yield from part
        elif part is not None:
            yield part


def bound_in(body: list[ast.stmt], *, walrus: bool) -> frozenset[str]:
    """The names that a body binds, of a function or class.

    Args:
        body: Its statements.
        walrus: Whether `:=` may be among them.
    """
    bound: set[str] = set()
    others: set[str] = set()
    # Syntax, and whether it stands inside of a comprehension, where only `:=` binds.
    pending: list[tuple[ast.AST, bool]] = [(statement, False) for statement in body]
    while pending:
        one, inside = pending.pop()
        kind = type(one)
        if kind in _WITHOUT_NAMES:
            continue
        fields = None if walrus or kind is ast.ExceptHandler else _BINDING.get(kind)
        if fields is not None:  # a statement with parts, which is what most syntax here is
            for field in fields:
                part = getattr(one, field)
                if type(part) is list:
                    pending += [(each, inside) for each in part]
                elif part is not None:
                    pending.append((part, inside))
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
        pending += [(child, inner) for child in _parts(one, walrus=walrus)]
    return frozenset(bound - others)
