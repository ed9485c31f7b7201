"""How names put their sizes: `gemm_n_4096_k_512` or `gemm_n4096_k512`, the same words."""

from __future__ import annotations

import re
from collections.abc import Iterable

_APART = re.compile(r"_([a-z]+)_(\d+)(?=_|$)")


def joined(name: str) -> str:
    """A name with each size at its word: `gemm_n4096_k512`."""
    return _APART.sub(r"_\1\2", name)


def spelled(name: str, others: Iterable[str]) -> str:
    """A name as those beside it are spelled; as it is where none is like it.

    Args:
        name: The name.
        others: Names that are there. Those that have the same sizes say how: the spelling that more
            of them have, and that of the name where both have as many. A name that is among them
            in one spelling keeps it.
    """
    sizes = [found[1] for found in _APART.finditer(name)]
    short = joined(name)
    others = set(others)
    same = sorted(other for other in others if joined(other) == short)
    if same:
        return name if name in same else same[0]
    if not sizes:
        return name
    like = re.compile("".join(rf"_{size}(_?)\d+" for size in sizes) + "(?:_|$)")
    found = [match[1] for match in map(like.search, others) if match]
    return short if found.count("") > found.count("_") else name
