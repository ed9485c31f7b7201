"""Orders: sorting, and the largest and smallest of several."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.plain_types import is_plain
from fibcore.elaborate.python.values import ABSENT, born, deep_unknown, is_scalar
from fibcore.elaborate.python.values.iterators import Iterator, Undecided
from fibcore.model.tree import SourcePlace, Unknown


class Ordering(Part):
    """Puts values in order."""

    def sorted(self, items: list[Any], key: Any, reverse: Any, place: SourcePlace) -> Any:
        """`sorted(items, key=key, reverse=reverse)`, or Unknown."""
        backwards = self.ev.operators.truth(reverse)
        if backwards is None:
            return Unknown("an unknown order", place)
        keys = self._keys(items, key, place)
        inner = deep_unknown(keys)
        if inner is not None and len(items) > 1:
            return Unknown(f"an order by something unknown: {inner.reason}", place)
        if key is None and all(is_scalar(item) for item in items):
            # The order of numbers is followed item by item, not as a decision.
            return self.ev.operators.apply(lambda *v: sorted(v, reverse=backwards), items, place)
        order = self._order(keys, backwards, place)
        return order if isinstance(order, Unknown) else born([items[n] for n in order])

    def _keys(self, items: list[Any], key: Any, place: SourcePlace) -> list[Any]:
        if key is None:
            return items
        return [self.ev.calls.call(key, [item], {}, place) for item in items]

    def _in_turn(
        self, name: str, fn: Callable[..., Any], iterator: Iterator, key: Any, place: SourcePlace
    ) -> Any:
        """The extreme of an iterator: each item is compared before the next one is asked for."""
        best: list[tuple[Any, Any]] = []
        plain: list[Any] = []
        lost: Unknown | None = None
        op = ast.Gt() if name == "max" else ast.Lt()
        while (item := iterator.take(self.ev)) is not ABSENT:
            asked = self._keys([item], key, place)[0]
            if key is None and not best and isinstance(item, (int, float, str)):
                if plain and isinstance(item, str) is not isinstance(plain[0], str):
                    self.before(item, plain[0], place, op)  # raises
                plain.append(item)  # numbers are followed together, not decision by decision
                continue
            try:
                for one in (*((v, v) for v in plain), (item, asked)):
                    if not best or (lost is None and self.before(one[1], best[0][1], place, op)):
                        best = [one]
            except Undecided as undecided:
                lost = undecided.reason
            plain.clear()
        if plain:
            return self.extreme(name, fn, plain, None, place)
        return lost if lost is not None else best[0][0] if best else ABSENT

    def _order(self, keys: list[Any], backwards: bool, place: SourcePlace) -> Any:
        """The positions of keys in their order."""
        positions = range(len(keys))
        if is_plain(keys):

            def order(*values: Any) -> dict[str, list[int]]:
                # A dict, which counts as one decision for layers whose keys differ.
                found = sorted(positions, key=values.__getitem__, reverse=backwards)
                return {"order": found}

            return self.ev.operators.apply(order, keys, place)["order"]

        ev = self.ev

        class Key:
            """A key that compares as the source says."""

            def __init__(self, position: int) -> None:
                self.value = keys[position]

            def __lt__(self, other: Key) -> bool:
                return ev.ordering.before(self.value, other.value, place)

        try:
            return sorted(positions, key=Key, reverse=backwards)
        except Undecided as undecided:
            return undecided.reason

    def before(self, left: Any, right: Any, place: SourcePlace, op: Any = None) -> bool:
        """`left < right`.

        Raises:
            Undecided: that is not known.
        """
        self.ev.budget.step()
        found = self.ev.comparisons.compare(op or ast.Lt(), left, right, place)
        truth = self.ev.operators.truth(found)
        if truth is None:
            raise Undecided(Unknown("an order that is not known", place))
        return truth

    def extreme(
        self,
        name: str,
        fn: Callable[..., Any],
        given: list[Any] | Iterator,
        key: Any,
        place: SourcePlace,
    ) -> Any:
        """`max(items, key=key)` or `min`, or Unknown; ABSENT of no items."""
        if isinstance(given, Iterator):
            return self._in_turn(name, fn, given, key, place)
        items, keys = given, self._keys(given, key, place)
        if not items:
            return ABSENT
        inner = deep_unknown(keys)
        if inner is not None and len(items) > 1:
            return inner
        if key is None and all(isinstance(v, (int, float, str)) for v in items):
            if len(items) == 1:
                return items[0]
            return self.ev.operators.apply(lambda *v: fn(v), items, place)
        best = 0
        op = ast.Gt() if name == "max" else ast.Lt()
        try:
            for position in range(1, len(keys)):
                if self.before(keys[position], keys[best], place, op):
                    best = position
        except Undecided as undecided:
            return undecided.reason
        return items[best]
