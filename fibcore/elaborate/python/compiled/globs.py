"""Regular expressions that are no more than globs: text with gaps."""

from __future__ import annotations

import re

import attrs

_LITERAL = re.compile(r"[\w\-/ ]|\\[.\-/ ]")


@attrs.frozen(eq=False)
class Matched:
    """What `fullmatch` gives for a text that matches; nothing but that it is there is known."""


@attrs.frozen
class Glob:
    """A pattern of literal pieces with anything between them.

    Attributes:
        pieces: The pieces; between two of them stands `.*`.
    """

    pieces: tuple[str, ...]

    def fullmatch(self, text: str) -> bool:
        """Whether a text, which has no newline, is the pieces with anything between them."""
        pieces = self.pieces
        if len(pieces) == 1:
            return text == pieces[0]
        first, last = pieces[0], pieces[-1]
        end = len(text) - len(last)
        if end < len(first) or not text.startswith(first) or not text.endswith(last):
            return False
        at = len(first)
        for piece in pieces[1:-1]:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True


def glob(pattern: str) -> Glob | None:
    """A regular expression as a glob; None where it is more than that."""
    pieces: list[str] = [""]
    at = 0
    while at < len(pattern):
        if pattern.startswith(".*", at) and not pattern.startswith(("?", "+"), at + 2):
            pieces.append("")
            at += 2
            continue
        literal = _LITERAL.match(pattern, at)
        if literal is None:
            return None
        at = literal.end()
        if pattern.startswith(("*", "?", "+", "{"), at):
            return None
        pieces[-1] += literal.group()[-1]
    return Glob(tuple(pieces))
