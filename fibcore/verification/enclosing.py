"""Puts a source file that is joined with others into a scope of its own, where names clash."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Sequence

import attrs

from fibcore.verification.joining import Joiner, Part

INDENT = "    "
PYTEST = ("test_", "pytest_")
"""What names begin with that pytest takes for tests and hooks."""


def mark(source: str) -> str:
    """What tells the names of a source from another's; the same wherever it is joined."""
    return hashlib.sha256(source.encode()).hexdigest()[:8]


def scoped(entry: str, suffix: str) -> str:
    """What an entry is called at the top level; nothing that pytest would take for its own."""
    return f"{'_' * entry.startswith(PYTEST)}{entry}_{suffix}"


def enclosed(part: Part, entries: Sequence[str], suffix: str, joiner: Joiner) -> Part:
    """A part that binds nothing but its entries at the top level, each with a suffix.

    All else is local to a function that is called once and returns the entries.

    Args:
        part: The part.
        entries: The functions of it that others call.
        suffix: What their names get, `mark` of the source.
        joiner: Whose errors are raised.

    Raises:
        FibcoreError: (of the class of the joiner) the source reaches for the names of its module in
            another way than by naming them, so that it cannot be moved.
    """
    _check_movable(part, joiner)
    scope = f"_scope_{suffix}"
    names = [scoped(entry, suffix) for entry in entries]
    body = joiner.import_lines(part) + "\n" if part.imports else ""
    body += f"{part.text}\nreturn {', '.join(entries)}\n"
    text = (
        f"def {scope}():\n"
        f'{INDENT}"""A scope of its own: other parts of this file have some of its names."""\n'
        f"{_indented(body)}\n\n"
        f"{', '.join(names)} = {scope}()\n"
    )
    return attrs.evolve(part, imports={}, names=frozenset({scope, *names}), text=text)


def _check_movable(part: Part, joiner: Joiner) -> None:
    for node in ast.walk(ast.parse(part.text)):
        called = node.id if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Global) or called == "globals":
            joiner.refuse(
                f"names of {joiner.what} clash, and a part of it cannot have a scope of its own",
                expected="no `global` and no `globals()`",
                found=f"{part.title}: {ast.unparse(node)}",
                hint="give what is at the top level names that no other part has",
            )


def _indented(text: str) -> str:
    """The lines one step to the right, those inside strings excepted; no two blank lines follow."""
    inside = _inside_strings(text)
    kept: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if number in inside:
            kept.append(line)
        elif line.strip():
            kept.append(INDENT + line)
        elif kept and kept[-1]:
            kept.append("")
    return "\n".join(kept).rstrip("\n") + "\n"


def _inside_strings(text: str) -> set[int]:
    """The lines that begin inside a string, but for docstrings, which may be moved."""
    movable = {line for node in ast.walk(ast.parse(text)) for line in _docstring_lines(node)}
    found: set[int] = set()
    started: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            found.update(range(token.start[0] + 1, token.end[0] + 1))
        elif kind in ("FSTRING_START", "TSTRING_START"):
            started.append(token.start[0])
        elif kind in ("FSTRING_END", "TSTRING_END"):
            found.update(range(started.pop() + 1, token.end[0] + 1))
    return found - movable


def _docstring_lines(node: ast.AST) -> Iterable[int]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        first = node.body[0]
        if ast.get_docstring(node) is not None:
            return range(first.lineno + 1, (first.end_lineno or first.lineno) + 1)
    return ()
