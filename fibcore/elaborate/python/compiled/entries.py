"""The entries of a long list of names that a loop has to look at for one name.

A quantisation config lists hundreds of layers, and is asked for every layer of a model. What a loop
that is blind to numbers (`blind.py`) does with an entry depends on a layer's number only where the
two have digits in common. So it is run once for a name with a number that no entry has; for each
name that differs from it in its number alone, only the entries are left that ended the loop then,
or that have to do with the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from fibcore.elaborate.python.compiled.operations import Items, Made, NotPlain

_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")
_INNER = re.compile(r"(?<=\.)[0-9]+(?=\.)")
_OUTER = re.compile(r"(?<![\w-])[0-9]+(?![\w-])")
"""Digits that are no part of a word: only these can meet a number that has dots around it."""
_RUN = re.compile(r"[0-9]+")
_ANY = "\u0660"
"""A digit that no name has: it stands for a number of which nothing is known."""
_DIGITS = tuple(range(0x660, 0x66A))
"""Such digits, for those of a name in their order."""
_FEW = 8
"""Entries of a list that is as well gone through."""

Ends = Callable[[Any], bool]
"""Whether the loop ends at an entry."""


class Entries:
    """What a list holds, by the numbers in its entries.

    Args:
        holder: The list.
        parts: The parts of an entry that decide something; None for the whole of it.

    Attributes:
        contents: The entries.
        simple: Whether all that decides something is ASCII text.
        ends: The positions of entries at which a loop ends, by the variables that it reads.
    """

    def __init__(self, holder: Any, parts: tuple[int, ...] | None) -> None:
        self.contents = tuple(holder)
        self.simple = True
        self.ends: dict[Any, frozenset[int]] = {}
        # Kept, so that no other list has its id; but for one that is made anew for each loop.
        self._holder = None if type(holder) is Made else source_of(holder)
        self._held = _contents(holder)
        self._texts: list[str] = []
        self._runs: dict[str, list[int]] = {}
        self._inner: dict[str, list[int]] = {}
        self._outer: dict[str, list[int]] = {}
        self._shapes: dict[tuple[str, ...], list[int]] = {}
        self._related: dict[tuple[str, bool], frozenset[int]] = {}
        self._alike: dict[tuple[str, bool], list[tuple[str, int]]] = {}
        self._ended: dict[tuple[Any, str], dict[str, bool]] = {}
        words: dict[str, _Word] = {}
        for position, entry in enumerate(self.contents):
            texts = (entry,) if parts is None else tuple(entry[part] for part in parts)
            if not all(type(text) is str and text.isascii() for text in texts):
                self.simple = False
                return
            self._texts.append("\0".join(texts))
            self._note(position, [text.split(".") for text in texts], words)

    def _note(self, position: int, cut: list[list[str]], words: dict[str, _Word]) -> None:
        """Note the numbers of an entry, whose texts are cut at their dots."""
        runs: set[str] = set()
        inner: set[str] = set()
        outer: set[str] = set()
        shape: list[str] = []
        for pieces in cut:
            last = len(pieces) - 1
            for place, piece in enumerate(pieces):
                word = words.get(piece)
                if word is None:
                    word = words[piece] = _Word(piece)
                shape.append(word.shape)
                if word.runs:
                    runs.update(word.runs)
                    if word.number and 0 < place < last:
                        inner.add(piece)
                    else:
                        outer.update(word.outer)
            shape.append("/")  # no piece: texts end here
        for found, known in ((runs, self._runs), (inner, self._inner), (outer, self._outer)):
            for run in found:
                known.setdefault(run, []).append(position)
        self._shapes.setdefault(tuple(shape), []).append(position)

    def hold(self, holder: Any, is_steady: Callable[[Any], bool]) -> bool:
        """Whether a list still holds what it held.

        Args:
            holder: The list, or another one by now.
            is_steady: Whether nothing ever changed a container: then it is not gone through.
        """
        if self._holder is not None and source_of(holder) is self._holder:
            return is_steady(self._holder) or self._held == _contents(holder)
        return self._held == _contents(holder)

    def where(self, ends: Ends, *, digits: bool) -> frozenset[int]:
        """The positions of entries at which a loop may end.

        Args:
            ends: Runs the loop's body for an entry.
            digits: Whether the variables that it reads have digits of their own; where they have
                none, the loop ends at all entries that differ in their numbers alone, or at none.
        """
        found: set[int] = set()
        for alike in self._shapes.values():
            for positions in [[p] for p in alike] if digits else [alike]:
                if self._ends(positions[0], ends):
                    found.update(positions)
        return frozenset(found)

    def ending(self, number: str, key: Any, ends: Ends, *, whole: bool) -> set[int]:
        """The positions of entries that a loop may end at because of a number.

        A body that is blind to digits does with one number and one entry what it does with any
        other two that have the same digits in common in the same places. So it is run once for
        each way in which an entry has to do with a number, for all numbers together.

        Args:
            number: The only number in the variables that the body reads.
            key: Stands for these variables, but for the number.
            ends: Runs the loop's body for an entry.
            whole: As for `related`.
        """
        known = self._ended.setdefault((key, _renamed(number, number)), {})
        found: set[int] = set()
        for alike, position in self._ways(number, whole=whole):
            ended = known.get(alike)
            if ended is None:
                ended = known[alike] = self._ends(position, ends)
            if ended:
                found.add(position)  # the loop does not come to the others
        return found

    def _ends(self, position: int, ends: Ends) -> bool:
        try:
            return ends(self.contents[position])
        except NotPlain:
            return True  # it is to be looked at again for each name

    def _ways(self, number: str, *, whole: bool) -> list[tuple[str, int]]:
        """The ways in which entries have to do with a number, each with its first entry."""
        if (number, whole) not in self._alike:
            first: dict[str, int] = {}
            for position in sorted(self.related(number, whole=whole)):
                first.setdefault(_renamed(number, self._texts[position]), position)
            self._alike[number, whole] = list(first.items())
        return self._alike[number, whole]

    def related(self, number: str, *, whole: bool) -> frozenset[int]:
        """The positions of entries that have digits in common with a number.

        Args:
            number: The number.
            whole: Whether it is always compared together with the dots around it, so that a number
                between two dots of an entry has to be the same one.
        """
        key = (number, whole)
        if key not in self._related:
            found = set(self._inner.get(number, ()) if whole else ())
            for run, positions in (self._outer if whole else self._runs).items():
                if run in number or number in run:
                    found.update(positions)
            self._related[key] = frozenset(found)
        return self._related[key]


class _Word:
    """What stands between two dots of an entry.

    Attributes:
        runs: Its runs of digits.
        outer: Those that are no part of a longer word.
        number: Whether it is a number and nothing else.
        shape: It with 0 for each run.
    """

    __slots__ = ("number", "outer", "runs", "shape")

    def __init__(self, text: str) -> None:
        self.runs = _RUN.findall(text)
        self.outer = _OUTER.findall(text) if self.runs else self.runs
        self.number = text.isdigit()
        self.shape = _RUN.sub("0", text) if self.runs else text


def _renamed(number: str, text: str) -> str:
    """A text with other digits for its own, in the order in which they come behind a number's."""
    digits = dict.fromkeys(number + "".join(_RUN.findall(text)))
    return text.translate(dict(zip(map(ord, digits), _DIGITS, strict=False)))


def source_of(holder: Any) -> Any:
    """The list or dict whose parts something holds."""
    return holder.source if type(holder) is Items else holder


def _contents(holder: Any) -> tuple[Any, ...]:
    if type(holder) is Items:
        return (*holder.source, *holder.source.values())
    return tuple(holder)


class Names:
    """The lists that one loop went through.

    Args:
        parts: The parts of an entry that decide whether it ends; None for the whole of it.
        cuts: Whether texts are cut into pieces.
        is_steady: Whether nothing ever changed a container.
    """

    def __init__(
        self, parts: tuple[int, ...] | None, *, cuts: bool, is_steady: Callable[[Any], bool]
    ) -> None:
        self._parts = parts
        self._cuts = cuts
        self._is_steady = is_steady
        self._known: dict[int, Entries] = {}

    def candidates(
        self,
        holder: Any,
        values: list[Any],
        ends: Callable[[list[Any]], Ends],
        count: Callable[[int], None],
    ) -> Iterator[Any] | None:
        """The entries at which the loop may end, in their order; None where it may be at any.

        Args:
            holder: What the loop goes through.
            values: The variables that its body reads.
            ends: Makes, of such variables, a function that runs the body for an entry.
            count: Is told of rounds before they are run.
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
        digits = any(_has_digits_of(value, "") for value in general)
        if key not in entries.ends:
            count(len(holder))
            entries.ends[key] = entries.where(ends(general), digits=digits)
        whole = not self._cuts and all(_between_dots(value) for value in values)
        related: Collection[int]
        if digits:
            related = entries.related(number, whole=whole)
        else:
            related = entries.ending(number, key, ends(values), whole=whole)
        wanted = entries.ends[key].union(related)
        return (entries.contents[position] for position in sorted(wanted))

    def _entries(self, holder: Any) -> Entries:
        key = id(source_of(holder))
        known = self._known.get(key)
        # The id may be another list's by now, or its contents others.
        if known is None or not known.hold(holder, self._is_steady):
            known = self._known[key] = Entries(holder, self._parts)
        return known


def _note(value: Any, numbers: set[str]) -> bool:
    """Note the numbers between the dots of a variable's names; false where it holds no names."""
    kind = type(value)
    if kind is str:
        numbers.update(_NUMBER.findall(value))
        return bool(value.isascii())
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


def _between_dots(value: Any) -> bool:
    """Whether a number stands between two dots wherever it is in a variable."""
    if type(value) is str:
        return not _NUMBER.search(_INNER.sub("", value))
    if type(value) in (Made, list, tuple, set, frozenset):
        return all(_between_dots(v) for v in value)
    return True


def _has_digits_of(value: Any, number: str) -> bool:
    """Whether other digits in names have anything to do with a number; with "", whether any are."""
    if type(value) is str:
        return any(run in number or number in run for run in _RUN.findall(value))
    if type(value) in (Made, list, tuple, set, frozenset):
        return any(_has_digits_of(v, number) for v in value)
    return False
