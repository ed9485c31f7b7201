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

from fibcore.model.tree import OriginFloat, OriginInt, OriginStr, with_origins

IndexFn = Callable[[int], Any]


class Tracker:
    """The decisions that were taken on the index of the layer that is being built.

    Attributes:
        number: The index.
        repeated: Whether another layer is taken for the same.
        guards: The decisions: functions of an index, and what they gave for this one.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.repeated = False
        self.guards: list[tuple[IndexFn, Any]] = []

    def holds(self, index: int) -> bool:
        """Whether a layer with this index would have gone the same way throughout."""
        for fn, result in self.guards:
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


ACTIVE = _Active()


class _Remembered:
    """A function of the layer index that computes each value once."""

    __slots__ = ("fn", "known")

    def __init__(self, fn: IndexFn) -> None:
        self.fn = fn
        self.known: dict[int, Any] = {}

    def __call__(self, index: int) -> Any:
        if index not in self.known:
            self.known[index] = self.fn(index)
        return self.known[index]


def is_scalar(value: Any) -> bool:
    """Whether a value is a number or a string, which can carry origins and depend on the index."""
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def index_fn(value: Any) -> IndexFn | None:
    """How a value depends on the index of the layer that is being built; None if it does not.

    A value that was computed from the index of another layer is a constant here.
    """
    if not isinstance(value, (OriginInt, OriginFloat, OriginStr)):
        return None
    fn: IndexFn | None = getattr(value, "fn", None)
    return fn if fn is not None and getattr(value, "tracker", None) is ACTIVE.tracker else None


def depends(value: Any) -> bool:
    """Whether a scalar, or one inside of plain containers, depends on the layer index."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(depends(v) for v in value)
    if isinstance(value, dict):
        return any(depends(k) or depends(v) for k, v in value.items())
    return index_fn(value) is not None


def depending(value: Any, fn: IndexFn | None, origins: frozenset[str] = frozenset()) -> Any:
    """`value` with its origins and its dependence on the layer index attached."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    if fn is None or ACTIVE.tracker is None:
        return with_origins(value, origins) if origins else value
    kind: Any = (
        OriginInt
        if isinstance(value, int)
        else OriginFloat
        if isinstance(value, float)
        else OriginStr
    )
    dependent = kind(value)
    dependent.origins = origins
    dependent.fn = _Remembered(fn)
    dependent.tracker = ACTIVE.tracker
    return dependent
