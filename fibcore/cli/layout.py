"""How wide a table's columns are in a terminal: words stay whole, and no line is too long."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

READABLE = 20
"""Characters that a column of sentences keeps; narrower ones would be hard to read."""


def widths(rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The widths of columns that fit, the widest ones of words wrapped; None where none do.

    Args:
        rows: The cells, column titles among them.
        room: Characters for all columns, without what stands between them.
    """
    columns = list(zip(*rows, strict=True))
    found = [max(map(len, column)) for column in columns]
    least = [
        max(min(width, READABLE), *(len(word) for cell in column for word in cell.split() or [""]))
        for column, width in zip(columns, found, strict=True)
    ]
    if sum(least) > room:
        return None
    while (excess := sum(found) - room) > 0:
        # The widest gives way first, down to the next one or to what it needs.
        at = max((i for i, w in enumerate(found) if w > least[i]), key=found.__getitem__)
        others = (w for w in found if least[at] <= w < found[at])
        found[at] -= min(excess, found[at] - max(others, default=least[at])) or 1
    return found


def stacked(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, indent: int
) -> Iterator[str]:
    """Rows one below the other: what names a row, and below it the other cells with their titles.

    The name is the first column whose cells all differ. Columns that say the same in every row are
    said once, above; empty cells are left out. A word that is longer than a line stays whole.
    """
    by_column = list(zip(*rows, strict=True))
    key = next((i for i, cells in enumerate(by_column) if len(set(cells)) == len(cells)), 0)
    same = [i for i, cells in enumerate(by_column) if len(rows) > 2 and len(set(cells)) == 1]
    alike = [f"{columns[i]}: {rows[0][i]}" for i in same if rows[0][i]]
    yield from _flowed(["in every row: " + alike[0], *alike[1:]] if alike else [], width, indent)
    for row in rows:
        yield " " * indent + row[key]
        parts = [
            f"{title}: {cell}"
            for i, (title, cell) in enumerate(zip(columns, row, strict=True))
            if cell and i != key and i not in same
        ]
        yield from _flowed(parts, width, indent + 4)


def _flowed(parts: Sequence[str], width: int, indent: int) -> Iterator[str]:
    """Parts side by side, as many as fit in a line."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]} · {part}" if lines else part
        if lines and indent + len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(part)
    for line in lines:
        yield from _wrapped(line, width, " " * indent)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, len(indent) + 1),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
