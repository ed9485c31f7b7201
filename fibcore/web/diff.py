"""A unified diff of two versions of a file that are mostly the same."""

from __future__ import annotations

import difflib
import re

_CONTEXT = 3


def unified_diff(before: bytes, after: bytes, name: str) -> str:
    """The unified diff, empty where nothing differs.

    The lines that both have at their beginning and end are left out before anything is compared:
    comparing a file of hundreds of models as a whole would take seconds.
    """
    old, new = _lines(before), _lines(after)
    most = min(len(old), len(new))
    head = 0
    while head < most and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < most - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    start = max(head - _CONTEXT, 0)
    back = max(tail - _CONTEXT, 0)
    lines = difflib.unified_diff(
        old[start : len(old) - back],
        new[start : len(new) - back],
        f"a/{name}",
        f"b/{name}",
        n=_CONTEXT,
    )
    return "".join(_moved(line, start) for line in lines)


def _lines(data: bytes) -> list[str]:
    # Only LF ends a line; str.splitlines knows many more ends.
    lines = data.decode("utf-8").split("\n")
    whole = [line + "\n" for line in lines[:-1]]
    return [*whole, f"{lines[-1]}\n\\ No newline at end of file\n"] if lines[-1] else whole


def _moved(line: str, by: int) -> str:
    """A line of the diff; in a hunk's header, line numbers of the whole file."""
    match = re.fullmatch(r"@@ -(\d+)((?:,\d+)?) \+(\d+)((?:,\d+)?) @@\n", line)
    if match is None:
        return line
    return f"@@ -{int(match[1]) + by}{match[2]} +{int(match[3]) + by}{match[4]} @@\n"
