"""What statements use when they are run, at import, and not in the bodies of their functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fibcore.syntax import children

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def used_at_import(nodes: list[ast.stmt]) -> frozenset[str]:
    """The names that statements use when they are run, not in the bodies of their functions."""
    return frozenset(name for node in nodes for name in _used(node))


def _used(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
        return
    if isinstance(node, _SCOPES):
        spec = node.args
        parts: list[ast.AST | None] = [*spec.defaults, *spec.kw_defaults]
        if not isinstance(node, ast.Lambda):
            parts += node.decorator_list
        for part in parts:
            if part is not None:
                yield from _used(part)
        return
    for child in children(node):
        yield from _used(child)
