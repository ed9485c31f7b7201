"""Names of definitions on a hand-kept page beside those that models need."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from fibcore.errors import nearest
from fibcore.reports.coverage.handkept.vocabulary import words_of
from fibcore.reports.coverage.report import Need


def is_name_of(name: str, need: Need) -> bool:
    """Whether a page's name is that of a need; spellings of the same words count as one."""
    return any(fits(name, words_of(n), n) for n in (need.kernel, need.name))


def fits(name: str, words: tuple[str, ...], full: str) -> bool:
    """Whether a page's name, in which `*` stands for anything, is the name with these words."""
    if "*" in name:
        return fnmatch.fnmatchcase(full.lower(), name.lower())
    return words_of(name) == words


def _skeleton(name: str) -> tuple[str, ...]:
    return tuple(word for word in words_of(name) if not word.isdigit())


def differences(name: str, right: str) -> list[tuple[str, str, str]]:
    """(what, page's number, right number) of names that differ in numbers alone."""
    one, other = words_of(name), words_of(right)
    if _skeleton(name) != _skeleton(right) or len(one) != len(other):
        return []
    return [
        (one[i - 1] if i else "", a, b)
        for i, (a, b) in enumerate(zip(one, other, strict=True))
        if a != b
    ]


def nearest_need(name: str, needs: Sequence[Need]) -> Need | None:
    """The need whose name is the most like: the same words with the fewest other numbers."""
    same = [n for n in needs if _skeleton(n.kernel) == _skeleton(name.replace("*", ""))]
    if same:
        return min(same, key=lambda n: (len(differences(name, n.kernel)), _distance(name, n)))
    found = nearest(name, [need.kernel for need in needs], limit=1, at_least=60)
    return next((need for need in needs if need.kernel in found), None)


def _distance(name: str, need: Need) -> int:
    return sum(abs(int(a) - int(b)) for _, a, b in differences(name, need.kernel))
