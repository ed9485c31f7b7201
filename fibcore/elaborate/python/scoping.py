"""Which names belong to which scope, as Python decides it before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fibcore.syntax import children

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def local_names(node: _Function) -> frozenset[str]:
    """The names that are local to a function; remembered on its syntax."""
    known: frozenset[str] | None = getattr(node, "local_names", None)
    if known is None:
        known = _locals(node)
        node.local_names = known  # type: ignore[union-attr]
    return known


def _locals(node: _Function) -> frozenset[str]:
    spec = node.args
    found = {a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
    found |= {a.arg for a in (spec.vararg, spec.kwarg) if a is not None}
    declared: set[str] = set()
    for part in [node.body] if isinstance(node, ast.Lambda) else node.body:
        for name, outer in _bound(part):
            (declared if outer else found).add(name)
    return frozenset(found - declared)


def _bound(node: ast.AST, in_comprehension: bool = False) -> Iterator[tuple[str, bool]]:
    """Names that syntax binds in its function, and those that it says to be of an outer scope."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name, False
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        yield from ((name, True) for name in node.names)
    elif isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load) and not in_comprehension:
            yield node.id, False
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id, False
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((a.asname or a.name.partition(".")[0], False) for a in node.names)
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name, False
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest, False
    inside = in_comprehension or isinstance(node, _COMPREHENSIONS)
    for child in children(node):
        yield from _bound(child, inside)


def captures_late(element: ast.expr, targets: list[ast.expr]) -> bool:
    """Whether functions that an element makes read what a later round assigns anew."""
    names = {
        part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
    }
    lazy = [part for part in ast.walk(element) if isinstance(part, ast.Lambda)]
    bodies: list[ast.AST] = [part.body for part in lazy]
    bodies += [element] if isinstance(element, ast.GeneratorExp) else []
    return any(
        isinstance(part, ast.Name) and part.id in names
        for body in bodies
        for part in ast.walk(body)
    )
