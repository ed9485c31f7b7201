"""The memory that a workload may take on a device: its default, sizes as text."""

from __future__ import annotations

import re

from fibcore.errors import UsageError

DEFAULT_LIMIT = 16 * 2**30
"""Bytes of inputs and outputs that a workload may take unless another bound is given."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """The bytes that people mean by `16GiB`, `16G` (10**9), `500 MB` or `1048576`.

    Raises:
        UsageError: the text is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = (match[2] or "") if match else ""
    known = unit[:1].upper() + unit[1:].lower()
    if match is None or float(match[1]) <= 0:
        raise UsageError(
            "no such size", where="--max-memory", expected="a size such as 16GiB", found=repr(text)
        )
    return int(float(match[1]) * _UNITS[known])


def in_words(size: int) -> str:
    """A number of bytes as people read it: `1.5 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
