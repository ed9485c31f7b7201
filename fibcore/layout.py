"""How the text of a module is laid out, without a parse: strings, statements, `global` lines.

A model file is read for a few of its classes, and is often the largest of its folder. So what is
looked for here is found by the characters that it has to begin with, and the rest is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Spans = list[tuple[int, int]]
"""Where pieces of a text begin and end, in order."""
# Comments and strings: where no statement can begin.
_QUOTED = re.compile(
    r"#[^\n]*"
    r"|\"\"\"[^\"\\]*(?:(?:\\.|\"(?!\"\"))[^\"\\]*)*\"\"\""
    r"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"
    r"|\"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\""
    r"|'[^'\\\n]*(?:\\.[^'\\\n]*)*'",
    re.DOTALL,
)
_SPANNING = ('"""', "'''", "\\\n")
"""What a string of several lines begins with, or has at the end of a line."""
_HEAD = re.compile(r"\n(?![\s#)\]}]|else\b|elif\b|except\b|finally\b)(?P<decorator>@)?")
_GLOBAL = "global"
_NAMES = re.compile(r"[ \t]+([\w, \t]+)")
_NAME = re.compile(r"[^\W\d]\w*")


def long_strings(text: str) -> Spans:
    """Where strings of several lines begin and end."""
    found: Spans = []
    ahead = [text.find(mark) for mark in _SPANNING]
    at = 0
    while any(position >= 0 for position in ahead):
        # Each line outside of the strings found so far begins outside of any string; one without
        # such a mark ends outside as well.
        mark = min(position for position in ahead if position >= 0)
        at = max(at, text.rfind("\n", 0, mark) + 1)
        end = _line_end(text, mark)
        while (match := _QUOTED.search(text, at)) is not None and match.start() <= end:
            at = match.end()
            if at > end:
                found.append(match.span())
                end = _line_end(text, at)
        if match is None:
            break
        at = end
        for which, position in enumerate(ahead):
            if 0 <= position < end:
                ahead[which] = text.find(_SPANNING[which], end)
    return found


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def statements(text: str, strings: Spans) -> Iterator[tuple[str, int, int]]:
    """Cut a module into top-level statements: text, first line, and where it begins.

    A statement begins in the first column, outside of strings, with something that neither closes
    a bracket nor continues a compound statement; decorators belong to what they decorate. A cut in
    the wrong place (a bracket's contents in the first column) shows when the piece does not parse.

    Args:
        text: The module's text.
        strings: Where its strings of several lines begin and end.
    """
    starts: list[int] = []
    decorated = False
    span = 0
    for match in _HEAD.finditer("\n" + text):
        at = match.start()  # the line begins behind the line break, which `text` is without
        if at >= len(text):
            break
        while span < len(strings) and strings[span][1] <= at:
            span += 1
        if span < len(strings) and strings[span][0] < at:
            continue
        if not decorated:
            starts.append(at)
        decorated = match.group("decorator") is not None
    line, before = 1, 0
    for position, start in enumerate(starts):
        end = starts[position + 1] if position + 1 < len(starts) else len(text)
        line += text.count("\n", before, start)
        before = start
        yield text[start:end], line, start


def declared_global(text: str) -> frozenset[str]:
    """The names that functions may bind by a `global` statement."""
    found: set[str] = set()
    at = text.find(_GLOBAL)
    while at >= 0:
        start = text.rfind("\n", 0, at) + 1
        names = _NAMES.match(text, at + len(_GLOBAL))
        if names is not None and start < at and not text[start:at].strip(" \t"):
            found.update(_NAME.findall(names[1]))
        at = text.find(_GLOBAL, at + len(_GLOBAL))
    return frozenset(found)
