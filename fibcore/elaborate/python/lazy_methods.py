"""Methods whose bodies are parsed when somebody asks for them.

Classes of model files are long, an elaboration needs a few methods of each, and parsing takes a
good part of its time. So a class is parsed with the bodies of its methods left out; each is a
`FunctionDef` that parses its own when it is looked at.

Where bodies begin and end is read off the layout that formatters give: four spaces, the end of a
signature at the end of a line. What is laid out in another way is parsed as a whole.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

from fibcore.syntax import parse_module

LONG = 2000
"""Characters from which on a class is worth it."""
_MEMBER = re.compile(r"\n {4}(?=[^\s#)\]}])")
_END_OF_SIGNATURE = re.compile(r"^ {4}\)[^\n#]*:[ \t]*\n", re.MULTILINE)
_DEF = re.compile(r" {4}def [^\n]*\n")
Strings = Sequence[tuple[int, int]]
"""Where strings of several lines begin and end."""


class FunctionDef(ast.FunctionDef):
    """A method whose body is parsed when it is first looked at.

    Its class has the name of the syntax that it is, by which `ast.unparse` goes.
    """

    # Only made from the parser's own nodes, by `_with_body_of`.
    _parse: Callable[[], list[ast.stmt]]
    _parsed: list[ast.stmt] | None
    has_no_yield: bool
    """Whether its text shows, without a parse, that it is no generator."""

    @property
    def body(self) -> list[ast.stmt]:
        """The statements of the body.

        Raises:
            SourceError: they do not parse.
        """
        if self._parsed is None:
            self._parsed = self._parse()
        return self._parsed

    @body.setter
    def body(self, statements: list[ast.stmt]) -> None:
        self._parsed = statements


class _Method:
    """A method of a class: its text, and where the body begins in it."""

    __slots__ = ("body", "end", "line", "start")

    def __init__(self, start: int, body: int, end: int) -> None:
        self.start = start
        self.body = body
        self.end = end
        self.line = 0


def parse(
    text: str, line: int, strings: Strings, otherwise: Callable[[int], list[ast.stmt]]
) -> list[ast.stmt] | None:
    """The statements of a piece of source that holds a class, with bodies that are parsed later.

    Args:
        text: The source.
        line: The number of its first line.
        strings: The strings of several lines in it, in order.
        otherwise: Gives the body of the method that stands in a line, where its text alone does
            not parse.

    Returns:
        The statements; None where it is not laid out so that it can be parsed like this.
    """
    methods = _methods(text, strings)
    if not methods:
        return None
    parts: list[str] = []
    before = 0
    for method in methods:
        parts += (text[before : method.body], "        pass")
        parts.append("\n" * text.count("\n", method.body, method.end))
        before = method.end
    parts.append(text[before:])
    try:
        nodes = parse_module("\n" * (line - 1) + "".join(parts)).body
    except SyntaxError:
        return None
    number, before = line, 0
    for method in methods:
        number += text.count("\n", before, method.start)
        before = method.start
        method.line = number
    found = {
        member.lineno: member
        for node in nodes
        if isinstance(node, ast.ClassDef)
        for member in node.body
        if type(member) is ast.FunctionDef
    }
    if not all(method.line in found for method in methods):
        return None  # another layout: what looks like a method is a function inside of one
    for method in methods:
        _with_body_of(found[method.line], text[method.start : method.end], otherwise)
    return nodes


def _methods(text: str, strings: Strings) -> list[_Method]:
    """The methods whose bodies can be left out."""
    starts: list[int] = []
    span = 0
    for match in _MEMBER.finditer(text):
        at = match.start() + 1
        while span < len(strings) and strings[span][1] <= at:
            span += 1
        if span == len(strings) or strings[span][0] >= at:
            starts.append(at)
    found = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        first = _DEF.match(text, start, end)
        if first is None:
            continue
        body = first.end()
        if not first.group().rstrip().endswith(":"):
            last = _END_OF_SIGNATURE.search(text, body, end)
            if last is None:
                continue
            body = last.end()
        if body < end:
            found.append(_Method(start, body, end))
    return found


def _with_body_of(
    node: ast.FunctionDef, text: str, otherwise: Callable[[int], list[ast.stmt]]
) -> None:
    """Let a node that stands for a method parse the body from the method's text."""
    line = node.lineno

    def body() -> list[ast.stmt]:
        try:
            (holder,) = parse_module("\n" * (line - 2) + "class _:\n" + text).body
            (method,) = holder.body  # type: ignore[attr-defined]
        except (SyntaxError, ValueError):
            return otherwise(line)
        statements: list[ast.stmt] = method.body
        return statements

    del node.body
    node.__class__ = FunctionDef
    node._parse = body  # type: ignore[attr-defined]
    node._parsed = None  # type: ignore[attr-defined]
    node.has_no_yield = "yield" not in text  # type: ignore[attr-defined]
