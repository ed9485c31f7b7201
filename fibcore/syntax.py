"""Walks over Python syntax, for walks over all of a file that has to take no time.

`ast.walk` spends most of its own on looking attributes up by name and on the nodes that only say
whether a name is loaded or stored.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes directly below one, in the order of the source; not those of `ctx`."""
    for name, value in node.__dict__.items():
        if type(value) is list:
            for item in value:
                if isinstance(item, ast.AST):
                    yield item
        elif isinstance(value, ast.AST) and name != "ctx":
            yield value


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, level by level; not those of `ctx`."""
    found = [node]
    for one in found:
        yield one
        for name, value in one.__dict__.items():
            if type(value) is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and name != "ctx":
                found.append(value)
