"""The entries of a long list of names that a loop has to look at for one name.

A quantisation config lists hundreds of layers, and is asked for every layer of a model. What a loop
that is blind to numbers (`blind.py`) does with an entry depends on a layer's number only where the
two have digits in common. So it is run once for a name with a number that no entry has; for each
name that differs from it in its number alone, only the entries are left that ended the loop then,
or that have to do with the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fibcore.elaborate.python.compiled.operations import Made, NotPlain

_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")
_RUN = re.compile(r"[0-9]+")
_ANY = "\u0660"
"""A digit that no name has: it stands for a number of which nothing is known."""
_FEW = 8
"""Entries of a list that is as well gone through."""

Ends = Callable[[Any], bool]
"""Whether the loop ends at an entry."""


class Entries:
    """What a list holds, by the numbers in its entries.

    Args:
        holder: The list; of a dict, the pairs.
    """

    def __init__(self, holder: list[Any]) -> None:
        self.contents = tuple(holder)
        self.simple = True
        self._runs: dict[str, list[int]] = {}
        self._related: dict[str, frozenset[int]] = {}
        for position, entry in enumerate(self.contents):
            for text in _texts(entry):
                if text is None or not text.isascii():
                    self.simple = False
                    return
                for run in _RUN.findall(text):
                    self._runs.setdefault(run, []).append(position)
        self.ends: dict[Any, frozenset[int]] = {}

    def related(self, number: str) -> frozenset[int]:
        """The positions of entries that have digits in common with a number."""
        if number not in self._related:
            self._related[number] = frozenset(
                position
                for run, positions in self._runs.items()
                if run in number or number in run
                for position in positions
            )
        return self._related[number]


class Names:
    """The lists that one loop went through."""

    def __init__(self) -> None:
        self._known: dict[int, Entries] = {}

    def candidates(
        self, holder: Any, values: list[Any], ends: Callable[[list[Any]], Ends]
    ) -> Iterator[Any] | None:
        """The entries at which the loop may end, in their order; None where it may be at any.

        Args:
            holder: What the loop goes through.
            values: The variables that its body reads.
            ends: Makes, of such variables, a function that runs the body for an entry.
        """
        if len(holder) < _FEW:
            return None
        numbers: set[str] = set()
        if not all(_note(value, numbers) for value in values) or len(numbers) != 1:
            return None
        (number,) = numbers
        entries = self._entries(holder)
        if not entries.simple:
            return None
        general = [_generalised(value) for value in values]
        if any(_has_digits_of(value, number) for value in general):
            return None
        key = tuple(tuple(v) if type(v) is Made or type(v) is list else v for v in general)
        key = tuple(frozenset(v) if type(v) is set else v for v in key)
        if key not in entries.ends:
            entries.ends[key] = _where(entries.contents, ends(general))
        wanted = entries.related(number) | entries.ends[key]
        return (entries.contents[position] for position in sorted(wanted))

    def _entries(self, holder: Any) -> Entries:
        known = self._known.get(id(holder))
        # The id may be another list's by now, or its contents others.
        if known is None or known.contents != tuple(holder):
            known = self._known[id(holder)] = Entries(holder)
        return known


def _where(contents: tuple[Any, ...], ends: Ends) -> frozenset[int]:
    found = set()
    for position, entry in enumerate(contents):
        try:
            if ends(entry):
                found.add(position)
        except NotPlain:  # noqa: PERF203 - it is to be looked at again for each name
            found.add(position)
    return frozenset(found)


def _texts(entry: Any) -> Iterator[str | None]:
    """The texts in an entry; None for what is neither text nor without any."""
    if type(entry) is str:
        yield entry
    elif type(entry) is tuple:
        for part in entry:
            yield from _texts(part)
    elif type(entry) is dict:
        for key, value in entry.items():
            yield from _texts(key)
            yield from _texts(value)
    elif entry is not None and type(entry) not in (bool, int, float):
        yield None


def _note(value: Any, numbers: set[str]) -> bool:
    """Note the numbers between the dots of a variable's names; false where it holds no names."""
    kind = type(value)
    if kind is str:
        numbers.update(_NUMBER.findall(value))
        return value.isascii()
    if kind in (Made, list, tuple, set, frozenset):
        return all(type(v) is str and _note(v, numbers) for v in value)
    return value is None or kind is bool


def _generalised(value: Any) -> Any:
    """A variable with a number of which nothing is known."""
    if type(value) is str:
        return _NUMBER.sub(_ANY, value)
    if type(value) in (Made, list, tuple, set, frozenset):
        return type(value)(_generalised(v) for v in value)
    return value


def _has_digits_of(value: Any, number: str) -> bool:
    """Whether other digits in names have anything to do with the number."""
    if type(value) is str:
        return any(run in number or number in run for run in _RUN.findall(value))
    if type(value) in (Made, list, tuple, set, frozenset):
        return any(_has_digits_of(v, number) for v in value)
    return False
