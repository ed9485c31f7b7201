"""Layers that are alike are built once; how, `values/tracking.py` tells."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fibcore.elaborate.python.limits import bounded
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ACTIVE,
    IndexFn,
    Mod,
    Repeat,
    Tracker,
    at_index,
    bare,
    depending,
    index_fn,
)
from fibcore.model.tree import SourcePlace, Unknown, origins_of


class Layers(Part):
    """Notes decisions on the layer index, and repeats layers for which all of them hold."""

    @contextlib.contextmanager
    def tracking(self, tracker: Tracker | None) -> Iterator[None]:
        """Note decisions on the index of one layer inside, or of none."""
        outer, ACTIVE.tracker = ACTIVE.tracker, tracker
        try:
            yield
        finally:
            ACTIVE.tracker = outer

    @contextlib.contextmanager
    def asking(self, tracker: Tracker) -> Iterator[list[tuple[IndexFn, Any]]]:
        """Note decisions inside on the index of a layer that was built, apart from its own.

        Gives:
            The decisions: functions of an index, and what they gave.
        """
        outer, tracker.guards = tracker.guards, []
        try:
            with self.tracking(tracker):
                yield tracker.guards
        finally:
            tracker.guards = outer

    def guard(self, fn: IndexFn | None, result: Any) -> None:
        """Note that a decision on the layer index was taken."""
        if fn is not None and ACTIVE.tracker is not None:
            ACTIVE.tracker.guards.append((fn, result))

    def only_whether(self, value: Any) -> None:
        """Note that no more is asked of a value than whether it is there.

        Args:
            value: What the last operation gave; nobody else has it.
        """
        guards = [] if ACTIVE.tracker is None else ACTIVE.tracker.guards
        if guards and guards[-1][1] is value:
            fn, _ = guards.pop()
            self.guard(lambda i: fn(i) is not None, True)

    def pin(self, value: Any) -> None:
        """Note that a scalar is used as it is, so that only layers with the same one are equal.

        For uses that are not followed: as a key, as the name of an attribute. Of a container, all
        that is in it.
        """
        if isinstance(value, (tuple, frozenset)):
            bounded(value)  # Python goes through all of it for its hash
        if ACTIVE.tracker is None:
            return
        if isinstance(value, (list, tuple, set, frozenset)):
            bounded(value)
            for item in value:
                self.pin(item)
            return
        if isinstance(value, dict):
            bounded(value)
            for key, item in value.items():
                self.pin(key)
                self.pin(item)
            return
        if isinstance(value, slice):
            for bound in (value.start, value.stop, value.step):
                self.pin(bound)
            return
        fn = index_fn(value)
        if fn is not None:
            self.guard(fn, bare(value))

    def repeated(self, items: list[Any], one: Callable[[Any], Any]) -> list[Any]:
        """`[one(i) for i in items]`, building layers that equal an earlier one only once.

        The first element is built while every decision that depends on the index is noted; a later
        index for which all of them go the same way is the same layer again.
        """
        if ACTIVE.tracker is not None:
            # Inside a layer that is being tracked, an inner list is built element by element: a
            # value can depend on one index only.
            return [one(item) for item in items]
        templates: list[Mod] = []
        result: list[Any] = []
        for item in items:
            self.ev.budget.spend(4, "a layer of many")
            number = int(item)
            build = partial(self._tracked, one, item)
            found = next((t for t in templates if t.tracker and t.tracker.holds(number)), None)
            if found is not None:
                result.append(self._repeat(found, number, build))
                continue
            value = build()
            if isinstance(value, Mod) and value.tracker is not None:
                templates.append(value)
            result.append(value)
        return result

    def _repeat(self, found: Mod, number: int, build: Callable[[], Any]) -> Repeat:
        again = Repeat(found, number, partial(self._rebuilt, build))
        found.repeats.append(again)
        if found.tracker is not None:
            found.tracker.repeated = True
        return again

    def _tracked(self, one: Callable[[Any], Any], item: Any) -> Any:
        """Build the layer of an index while its decisions on the index are noted."""
        number = int(item)
        tracker = Tracker(number)
        with self.tracking(tracker), self.ev.writes.watching(tracker):
            value = one(depending(number, lambda i: i, origins_of(item)))
        if isinstance(value, Mod):
            if value.tracker is None:
                value.tracker = tracker
            return value
        return at_index(value, number, tracker)

    def _rebuilt(self, build: Callable[[], Any]) -> Any:
        """Build a repeated layer for itself, outside of any branch or pass that asks for it.

        What asks may be one side of a branch that is taken back, or a forward pass; the layer is
        there whichever side is taken, and was there before.
        """
        with self.ev.apart():
            return build()

    def note_change(self, owner: Mod, name: str, value: Any, place: SourcePlace) -> None:
        """Note that a module inside of a repeated layer gets or loses a module afterwards.

        Which of the equal layers it belongs to is not known any more.
        """
        if owner.born is None or not owner.born.repeated or owner.tracker is owner.born:
            return
        if owner.born is not ACTIVE.tracker and any(
            isinstance(v, (Mod, Repeat)) for v in (value, owner.attrs.get(name))
        ):
            why = f"{owner.class_name}.{name} is changed in some of the layers that are alike"
            self.ev.changes.append(Unknown(why, place))
