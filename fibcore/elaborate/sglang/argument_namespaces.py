"""Namespaces of server arguments that annotations of the fields name.

Some releases keep all arguments in one class and mark each field with the namespace that it is
read from: `moe_a2a_backend: A[str, "help", NS("exec.moe")] = "none"`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fibcore.elaborate.python.values import Class

_MARKER = "NS"


def marked_namespaces(cls: Class) -> dict[str, frozenset[str]]:
    """The fields of a class of server arguments by the dotted namespace that marks them."""
    spaces: dict[str, set[str]] = {}
    seen: set[str] = set()
    for base in cls.mro:
        for name, path in _marks(base.node) if isinstance(base, Class) else ():
            if name not in seen:  # a subclass may move a field of its base
                seen.add(name)
                spaces.setdefault(path, set()).add(name)
    return {path: frozenset(names) for path, names in spaces.items()}


def _marks(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            path = _namespace(statement.annotation)
            if path is not None:
                yield statement.target.id, path


def _namespace(annotation: ast.expr) -> str | None:
    """The path in the `NS("path")` of an annotation; None without one."""
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.slice, ast.Tuple):
        return None
    for part in annotation.slice.elts:
        if isinstance(part, ast.Call) and _name(part.func) == _MARKER:
            given = [*part.args, *(k.value for k in part.keywords)]
            if len(given) == 1 and isinstance(given[0], ast.Constant):
                return str(given[0].value)
    return None


def _name(node: ast.expr) -> str | None:
    """The last name of a dotted one."""
    return getattr(node, "attr", None) or getattr(node, "id", None)
