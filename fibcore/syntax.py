"""Python source: walks over its syntax that take little time, and literals as a formatter has them.

`ast.walk` spends most of its own on looking attributes up by name and on the nodes that only say
whether a name is loaded or stored.
"""

from __future__ import annotations

import ast
import math
import threading
from collections.abc import Iterator

# Fields that hold no nodes but text, numbers, or whether a name is loaded or stored.
_PLAIN = frozenset(
    {"arg", "asname", "attr", "conversion", "ctx", "id", "is_async", "kind", "level", "module"}
    | {"name", "rest", "simple", "tag", "type_comment"}
)


class _Fields(dict[type[ast.AST], tuple[str, ...]]):
    """The fields of each kind of node that may hold nodes."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        self[kind] = found = tuple(name for name in kind._fields if name not in _PLAIN)
        return found


_FIELDS = _Fields({ast.Constant: ()})
_PARSING = threading.RLock()


def parse_module(text: str) -> ast.Module:
    """`ast.parse`, for threads: CPython counts the depth of the nodes that it makes in one place.

    Where another thread parses meanwhile, it raises SystemError (CPython issue 106905). That can be
    in the middle of a file, because the garbage collector may run Python there.
    """
    with _PARSING:
        return ast.parse(text)


def parse_expression(text: str) -> ast.expr:
    """The syntax of an expression, for threads."""
    with _PARSING:
        return ast.parse(text, mode="eval").body


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes directly below one, in the order of the source; not those of `ctx`."""
    for name in _FIELDS[type(node)]:
        value = getattr(node, name, None)
        if type(value) is list:
            for item in value:
                if isinstance(item, ast.AST):
                    yield item
        elif isinstance(value, ast.AST):
            yield value


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, level by level; not those of `ctx`."""
    found = [node]
    for one in found:
        yield one
        for name in _FIELDS[type(one)]:
            value = getattr(one, name, None)
            if type(value) is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)


def _below(nodes: list[ast.AST]) -> list[ast.AST]:
    found: list[ast.AST] = []
    for node in nodes:
        for name in _FIELDS[type(node)]:
            value = getattr(node, name, None)
            if type(value) is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


MAX_NESTING = 100
"""How deep foreign source may be nested: what walks it recursively then has room on the stack."""


def is_nested_deeply(top: ast.AST) -> bool:
    """Whether syntax is nested deeper than `MAX_NESTING`; looks at each node once."""
    level = [top]
    for _ in range(MAX_NESTING):
        level = _below(level)
        if not level:
            return False
    return True


WIDTH = 100
"""Columns of a line of written source."""


def literal(value: object, column: int = 0, indent: int = 0) -> str:
    """A Python literal as a formatter would write it.

    Args:
        value: None, bool, int, float, str, tuple, list or dict of those.
        column: Where on the line it begins.
        indent: Blanks before the line that it begins on.
    """
    flat = _flat(value)
    # One column is left for the comma behind it.
    if not isinstance(value, (dict, tuple, list)) or not value or column + len(flat) < WIDTH:
        return flat
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        lines = [
            f"{inner}{_flat(k)}: {literal(v, indent + 6 + len(_flat(k)), indent + 4)},\n"
            for k, v in value.items()
        ]
        return "{\n" + "".join(lines) + " " * indent + "}"
    opening, closing = ("(", ")") if isinstance(value, tuple) else ("[", "]")
    lines = [f"{inner}{literal(v, indent + 4, indent + 4)},\n" for v in value]
    return opening + "\n" + "".join(lines) + " " * indent + closing


def _flat(value: object) -> str:
    if isinstance(value, str):
        text = repr(value)
        # A formatter prefers double quotes where that needs no escape.
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(k)}: {_flat(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_flat(v) for v in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"not a literal: {value!r}")
    return repr(value)
