"""Amounts of memory as people write and read them; one meaning for every option and argument."""

from __future__ import annotations

import re

from fibcore.errors import UsageError

KIB, MIB, GIB, TIB = (1 << 10 * power for power in range(1, 5))

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B|i)?|B)?", re.IGNORECASE | re.ASCII)


def parse_size(size: str | int, where: str = "") -> int:
    """The bytes that `16G`, `512 MB`, `1.5GiB` or `1048576` stands for.

    Units are powers of 1024 in every spelling (`16G` = `16GB` = `16GiB` = 16 * 2**30), for memory
    is built and reported that way: a GPU "of 80 GB" has 80 * 2**30 bytes. Case and blanks before
    the unit do not matter. An int is a number of bytes.

    Args:
        size: The text or the number.
        where: The option or argument, for the error.

    Raises:
        UsageError: the text is no size, or the size is below one byte.
    """
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if isinstance(size, int):
        found = size
    elif match:
        power = " KMGT".index((match[2] or " ").upper())
        found = int(float(match[1]) * 1024**power)
    else:
        found = 0
    if found < 1:
        raise UsageError(
            "no such size",
            where=where or None,
            expected="a size such as 16GiB or 512M",
            found=repr(size),
        )
    return found


def format_size(size: int) -> str:
    """A number of bytes as people read it: `1.5 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
