"""How values depend on the index of the layer that is being built.

A model of 61 layers is built layer by layer in a comprehension, and most of its layers are alike.
While one of them is built, its index is a number that remembers itself: whatever is computed from
it carries the function that computed it, and every decision that depends on it is noted as a guard.
A later index for which all guards come out as before would have gone the same way throughout, so
its layer is the same layer again, with other numbers in the same places.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

IndexFn = Callable[[int], Any]


class Tracker:
    """The decisions that were taken on the index of the layer that is being built.

    Attributes:
        number: The index.
        repeated: Whether another layer is taken for the same.
        guards: The decisions: functions of an index, and what they gave for this one.
        outside: Where changes to what is outside of the layer are noted while it is built.
        reaches_out: Whether building it changed something outside, so that the layers behind it
            find other things than it did.
        born: Ids of the containers that were made for it. What has no entry is taken to be outside.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.repeated = False
        self.guards: list[tuple[IndexFn, Any]] = []
        self.outside: Any = None
        self.reaches_out = False
        self.born: set[int] = set()

    def is_outside(self, container: Any) -> bool:
        """Whether a container was not made for the layer."""
        return id(container) not in self.born

    def holds(self, index: int) -> bool:
        """Whether a layer with this index would have gone the same way throughout."""
        return not self.reaches_out and hold(self.guards, index)


def hold(guards: list[tuple[IndexFn, Any]], index: int) -> bool:
    """Whether all decisions would have come out the same for a layer with this index."""
    for fn, result in guards:
        try:
            if fn(index) != result:
                return False
        # Where Python would raise for that index, its layer is another one.
        except (ArithmeticError, LookupError, TypeError, ValueError):  # noqa: PERF203 - ends it
            return False
    return True


class _Active(threading.local):
    """The tracker of the layer that this thread is building.

    Equality of values and arithmetic on them ask for it in so many places, without any evaluator at
    hand, that it is a variable of the thread. Only `Layers` sets it.
    """

    tracker: Tracker | None = None
    fresh: set[int] | None = None
    """Ids of the containers that were made in a round of a loop whose rounds are not known."""


ACTIVE = _Active()


def born(container: Any) -> Any:
    """A container that was made just now: a change to it changes nothing outside of the layer."""
    tracker = ACTIVE.tracker
    if tracker is not None:
        tracker.born.add(id(container))
    if ACTIVE.fresh is not None:
        ACTIVE.fresh.add(id(container))
    return container
