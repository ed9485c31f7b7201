"""Iteration: iterators of values, and the order in which things come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator as Rounds
from typing import Any

from fibcore.elaborate.python import limits, plain
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.plain_types import has_order_of_hashes
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Func,
    Native,
    Obj,
    Raised,
    Value,
    is_doubtful,
    is_open,
)
from fibcore.elaborate.python.values.iterators import (
    ByMethod,
    Iterator,
    Keys,
    Positions,
    Pulling,
    Undecided,
    unsettled,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

_SEQUENCES = (list, tuple, str, range, bytes)


class Iteration(Part):
    """Makes iterators, and goes through what can be iterated."""

    _any_order = False

    @contextlib.contextmanager
    def any_order(self) -> Rounds[None]:
        """Take texts of a set in alphabetical order inside: whoever uses them asks for no order."""
        outer, self._any_order = self._any_order, True
        try:
            yield
        finally:
            self._any_order = outer

    def iterator(self, value: Any, place: SourcePlace) -> Any:
        """`iter(value)`, or Unknown; raises TypeError as Python would."""
        if isinstance(value, Iterator):
            return value
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Alternatives):
            why = Unknown("an iterator of one of several values", place)
            stand = [part for part in value.values if isinstance(part, Iterator)]
            return unsettled("iterator", why, *stand) if stand else why
        if is_open(value):
            return Unknown("an iterator of something of unknown length", place)
        if isinstance(value, _SEQUENCES):
            self.ev.layers.pin(value)  # the characters of a string are not followed
            return Positions(value, f"{plain.kind_name(value)}_iterator")
        if isinstance(value, dict):
            return Keys(value)
        if isinstance(value, (set, frozenset)):
            items = self.items(value)
            return Unknown("the order of a set", place) if items is None else _over(items)
        if isinstance(value, Obj):
            return self._of_object(value, place)
        if isinstance(value, Value):
            items = value.items(self.ev)
            if items is not None:
                return _over(items)
        self._refuse(value, place)
        return Unknown(f"an iterator of {plain.kind_name(value)}", place)

    def _of_object(self, value: Obj, place: SourcePlace) -> Any:
        made = value.special(self.ev, "__iter__", [], place)
        if isinstance(made, (Iterator, Unknown)):
            return made
        if isinstance(made, Obj):
            following = made.method(self.ev, "__next__", place)
            if following is not ABSENT:
                return ByMethod(following, place)
        if made is not ABSENT:
            message = f"iter() returned non-iterator of type {plain.kind_name(made)!r}"
            raise Raised("TypeError", message, place)
        by_key = value.method(self.ev, "__getitem__", place)
        if by_key is not ABSENT:
            return Pulling("iterator", _by_position(by_key, place), by_key, at=0)
        items = value.items(self.ev)
        if items is not None:
            return _over(items)
        if value.lacks(self.ev, "__iter__"):
            raise Raised("TypeError", f"{value.class_name!r} object is not iterable", place)
        return Unknown(f"an iterator of {value.class_name}", place)

    def _refuse(self, value: Any, place: SourcePlace | None) -> None:
        """Raise what Python raises for a value that can never be iterated."""
        if value is None or isinstance(value, (int, float, complex, Func)):
            name = plain.kind_name(value)
            raise Raised("TypeError", f"{name!r} object is not iterable", place)

    def rounds(self, value: Any, place: SourcePlace) -> Rounds[Any] | None:
        """The items for a loop that is run now; None where nothing is known of them.

        The items are asked for one by one, while the loop changes things. Asking raises `Undecided`
        where they are known no further.
        """
        if isinstance(value, (Unknown, Alternatives)):
            self._take_any(value)
            return None
        if isinstance(value, tuple):
            return iter(value)
        if isinstance(value, list):
            return _entries(value)
        if isinstance(value, range):
            return self._counted(value)
        found = self.iterator(value, place)
        if isinstance(found, Unknown):
            return None
        return self._taken(found)

    def _take_any(self, value: Any) -> None:
        """Any number of items of whichever of several iterators it is."""
        for part in value.values if isinstance(value, Alternatives) else ():
            if isinstance(part, Iterator):
                part.take_any(self.ev, Unknown("one of several iterators"))

    def _counted(self, value: range) -> Rounds[Any]:
        # However long it is: it may be left long before its end.
        for item in value:
            self.ev.budget.step()
            yield item

    def _taken(self, iterator: Iterator) -> Rounds[Any]:
        while (item := iterator.take(self.ev)) is not ABSENT:
            yield item

    def items(self, value: Any, *, ordered: bool = True) -> list[Any] | None:
        """All items of a value; None where that is not known. An iterator is at its end then.

        Args:
            value: What is gone through.
            ordered: Whether the order matters: that of a set is not known.

        Raises:
            Raised: the value cannot be iterated, or its items raise.
        """
        if isinstance(value, (list, tuple, dict, range, str, bytes, set, frozenset)):
            size = limits.range_length(value) if isinstance(value, range) else len(value)
            self.ev.budget.spend(size, f"a walk through {plain.kind_name(value)}")
        if isinstance(value, Alternatives):
            self._take_any(value)
        if is_open(value):
            return None
        if isinstance(value, (list, tuple, dict, range)):
            return list(value)
        if isinstance(value, (str, bytes)):
            self.ev.layers.pin(value)
            return list(value)
        if isinstance(value, (set, frozenset)):
            if not ordered or not has_order_of_hashes(value):
                return list(value)
            return (
                sorted(value)
                if self._any_order and all(isinstance(v, str) for v in value)
                else None
            )
        if isinstance(value, Obj):
            found = self.iterator(value, value.place or SourcePlace("", 1))
            return found.items(self.ev) if isinstance(found, Iterator) else None
        if isinstance(value, Value):
            return value.items(self.ev)
        self._refuse(value, None)
        return None

    def each(self, value: Any, use: Callable[[Any], None]) -> list[Any] | None:
        """All items of a value, each of which is used before the next one is asked for.

        What uses them may raise; an iterator stands behind the item that did then.
        """
        found = self.iterator(value, SourcePlace("", 1)) if isinstance(value, Obj) else value
        if not isinstance(found, Iterator):
            items = self.ev.operators.items(value)
            for item in items or ():
                use(item)
            return items
        items = []
        try:
            for item in self._taken(found):
                use(item)
                items.append(item)
        except Undecided:
            return None
        return items


def _entries(value: list[Any]) -> Rounds[Any]:
    """The entries of a list, while a loop changes it."""
    position = 0
    while position < len(value):
        item = value[position]
        if is_doubtful(item):
            raise Undecided(item)
        yield item
        position += 1


def _over(items: list[Any]) -> Positions:
    return Positions(items, "iterator")


def _by_position(by_key: Any, place: SourcePlace) -> Any:
    """The old protocol: positions from zero until IndexError."""

    def pull(ev: Any, it: Pulling) -> Any:
        at = it.at("at")
        it.keep(ev, "at", at + 1)
        try:
            return ev.calls.call(by_key, [at], {}, place)
        except Raised as error:
            if error.kind not in ("IndexError", "StopIteration"):
                raise
            return ABSENT

    return pull


__all__ = ["Class", "Iteration", "Native", "Undecided"]
