"""Edits of a file of data as splices of its bytes: what no edit names stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from fibcore.web.style import Style
from fibcore.web.typescript import Source, members

if TYPE_CHECKING:
    from tree_sitter import Node

Member = Callable[[str], str]
"""Writes a member of an object or array for the indentation of its line."""


@attrs.define
class Edits:
    """Splices of a file, gathered and then applied at once."""

    source: Source
    style: Style
    _splices: list[tuple[int, int, str]] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self._splices)

    def apply(self) -> bytes:
        """The file with all splices."""
        data, parts, at = self.source.data, [], 0
        for start, end, text in sorted(self._splices, key=lambda s: s[:2]):
            assert start >= at, "two edits of one place"
            parts += [data[at:start], text.encode("utf-8")]
            at = end
        return b"".join([*parts, data[at:]])

    def replace(self, node: Node, text: str) -> None:
        """Put `text` in the place of a node."""
        self._splices.append((node.start_byte, node.end_byte, text))

    def insert(self, holder: Node, after: Node | None, items: Sequence[Member]) -> None:
        """Insert members into an object or array.

        Args:
            holder: The object or array.
            after: The member after which they come; None only where there is none yet.
            items: The members.
        """
        if not items:
            return
        if after is None:
            self._fill(holder, items)
            return
        siblings = holder.children
        at = next(i for i, child in enumerate(siblings) if child == after)
        comma = next((c for c in siblings[at + 1 :] if c.type != "comment"), None)
        has_comma = comma is not None and comma.type == ","
        end = comma if has_comma and comma is not None else after
        following = [c for c in siblings if c.start_byte >= end.end_byte]
        # A comment that ends the member's line is about that member.
        behind = end
        for child in following:
            if child.type != "comment" or child.start_point[0] != end.end_point[0]:
                break
            behind = child
        rest = next((c for c in following if c.type != "comment"), None)
        shares_line = rest is not None and rest.start_point[0] == behind.end_point[0]
        indent = self.source.indentation(after.start_byte).decode()
        if self.source.first_on_line(after) and not (shares_line and rest is not None):
            text = ",".join(f"{self.style.eol}{indent}{item(indent)}" for item in items)
            if has_comma:
                self._splices.append((behind.end_byte, behind.end_byte, text + ","))
            else:
                self._splices.append((end.end_byte, end.end_byte, ","))
                self._splices.append((behind.end_byte, behind.end_byte, text))
            return
        text = ", ".join(item(indent) for item in items)
        text = f" {text}," if has_comma else f", {text}"
        self._splices.append((end.end_byte, end.end_byte, text))

    def _fill(self, holder: Node, items: Sequence[Member]) -> None:
        """Insert the first members of an object or array; comments in it stay before them."""
        outer = self.source.indentation(holder.start_byte).decode()
        indent = outer + self.style.unit
        eol = self.style.eol
        text = ",".join(f"{eol}{indent}{item(indent)}" for item in items)
        text += "," if self.style.trailing else ""
        last = holder.children[-2]  # the opening bracket, or the last comment
        end = holder.children[-1].start_byte
        between = self.source.data[last.end_byte : end]
        if b"\n" in between:
            self._splices.append((last.end_byte, last.end_byte, text))
        else:
            self._splices.append((last.end_byte, end, text + eol + outer))

    def remove(self, holder: Node, member: Node) -> None:
        """Remove a member, with the comment that ends its line.

        A comma before it stays, as the trailing comma of what is the last member then.
        """
        siblings = holder.children
        at = next(i for i, child in enumerate(siblings) if child == member)
        end = member
        for child in siblings[at + 1 :]:
            comment = child.type == "comment" and child.start_point[0] == end.end_point[0]
            if not comment and (child.type != "," or end.type == ","):
                break
            end = child
        data = self.source.data
        start, stop = member.start_byte, end.end_byte
        rest = data[stop : (data.find(b"\n", stop) + 1) or len(data)]
        if self.source.first_on_line(member) and not rest.strip():
            start, stop = self.source.line_start(start), stop + len(rest)
        else:
            while data[stop : stop + 1] == b" " and end.type == ",":
                stop += 1
        self._splices.append((start, stop, ""))


def last_member(holder: Node, without: Sequence[Node] = ()) -> Node | None:
    """The last member of an object or array that is not in `without`."""
    found = [member for member in members(holder) if member not in without]
    return found[-1] if found else None
