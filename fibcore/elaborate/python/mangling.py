"""Private names: `__name` inside of a class is `_Class__name`."""

from __future__ import annotations

import ast
import re

from fibcore.syntax import walk

# The underscores come first, so that the search jumps from one pair to the next.
PRIVATE = re.compile(r"__(?<!\w__)[A-Za-z]\w*\b(?<!__)")
"""A name that is private, in the text of a module."""
_FIELDS = ("id", "attr", "arg", "name")


def mangle(node: ast.ClassDef) -> None:
    """Write the private names of a class as Python knows them; inner classes have their own."""
    if getattr(node, "mangled", False):
        return
    node.mangled = True  # type: ignore[attr-defined]
    prefix = "_" + node.name.lstrip("_")
    if prefix == "_":
        return
    for statement in node.body:
        for inner in walk(statement):
            if isinstance(inner, ast.ClassDef):
                mangle(inner)
        for inner in walk(statement):
            _rename(inner, prefix)


def _rename(node: ast.AST, prefix: str) -> None:
    if isinstance(node, (ast.Global, ast.Nonlocal)):
        node.names = [_mangled(name, prefix) for name in node.names]
        return
    for field in _FIELDS:
        name = getattr(node, field, None)
        if isinstance(name, str) and not isinstance(node, ast.alias):
            mangled = _mangled(name, prefix)
            if mangled != name:
                setattr(node, field, mangled)
    if isinstance(node, ast.alias) and node.asname:
        node.asname = _mangled(node.asname, prefix)


def _mangled(name: str, prefix: str) -> str:
    if not name.startswith("__") or name.endswith("__") or "." in name:
        return name
    return prefix + name
