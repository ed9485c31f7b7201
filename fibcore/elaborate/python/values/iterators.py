"""Iterators: what gives its items one by one, and each of them once.

Where an iterator stands is evaluated state: it is written by way of the journal, so that what one
side of an undecided branch takes is taken back with the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.limits import MAX_CONTAINER
from fibcore.elaborate.python.values.base import ABSENT, Raised, Value
from fibcore.elaborate.python.values.functions import Native
from fibcore.elaborate.python.values.tracking import born
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


class Undecided(Exception):
    """What an iterator gives next, or whether it has ended, is not known."""

    def __init__(self, reason: Unknown) -> None:
        super().__init__(reason.reason)
        self.reason = reason


class Iterator(Value):
    """An iterator of the source.

    Attributes:
        state: Where it stands, by names that each kind has for itself. "lost" holds why nothing is
            known of it any more.
    """

    __slots__ = ("state",)
    kind = "iterator"
    changeable = True
    uses: tuple[Any, ...] = ()
    """What it takes from and what it calls, beside iterators in `state`."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = born({})

    def take(self, ev: Evaluator) -> Any:
        """The next item; ABSENT behind the last one.

        Raises:
            Undecided: that is not known, and will not be.
            Raised: the source raises.
        """
        ev.budget.step()
        lost = self.state.get("lost")
        if lost is not None:
            why = lost if isinstance(lost, Unknown) else Unknown("one of two positions")
            self.take_any(ev, why)
            raise Undecided(why)
        try:
            if self.has("ended"):
                return ABSENT
            item = self._next(ev)
        except Undecided as undecided:
            self.take_any(ev, undecided.reason)
            raise
        if item is ABSENT:
            ev.writes.put(self.state, "ended", True)
        return item

    def _next(self, ev: Evaluator) -> Any:
        """The next item, where neither the end nor the unknown was met before."""
        raise NotImplementedError

    def lose(self, ev: Evaluator, reason: Unknown) -> None:
        """Note that nothing is known of it from here on."""
        ev.writes.put(self.state, "lost", reason)

    def take_any(self, ev: Evaluator, why: Unknown) -> None:
        """Take any number of items: what making them changes is not known, nor where it stands."""
        self.lose(ev, why)

    def is_quiet(self) -> bool:
        """Whether nobody could tell how many of its items were taken."""
        return False

    def rest(self, ev: Evaluator) -> list[Any]:
        """All items that are left; as `take` else."""
        found: list[Any] = born([])
        while (item := self.take(ev)) is not ABSENT:
            ev.budget.step()
            found.append(item)
            if len(found) > MAX_CONTAINER:
                raise Undecided(Unknown("an iterator without an end"))
        return found

    def items(self, ev: Evaluator) -> list[Any] | None:
        try:
            return self.rest(ev)
        except Undecided:
            return None

    def returned(self) -> Any:
        """What it ended with: the result of a generator."""
        return None

    def has(self, name: str) -> bool:
        """Whether the state has a name, that it gets once."""
        found = self.state.get(name, ABSENT)
        if isinstance(found, Alternatives):
            raise Undecided(Unknown("an iterator that one side of a branch advanced"))
        return found is not ABSENT

    def at(self, name: str) -> int:
        """A number of the state."""
        found = self.state[name]
        if isinstance(found, int):
            return found
        raise Undecided(Unknown("an iterator that one side of a branch advanced"))

    # -- what Python does with it --------------------------------------------------------------

    @property
    def kind_name(self) -> str:
        return self.kind

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        raise Raised("TypeError", f"object of type {self.kind!r} has no len()", place)

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        raise Raised("TypeError", f"{self.kind!r} object is not subscriptable", place)

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        raise Raised("TypeError", f"{self.kind!r} object has no item assignment", place)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        """Take items until one is equal."""
        try:
            while (found := self.take(ev)) is not ABSENT:
                truth = ev.comparisons.same(found, item, place)
                if truth is None:
                    why = Unknown("membership in an iterator", place)
                    self.take_any(ev, why)
                    raise Undecided(why)
                if truth:
                    return True
        except Undecided as undecided:
            return undecided.reason
        return False

    def is_of_external(self, name: str) -> bool | None:
        return name.rpartition(".")[2] in ("Iterator", "Iterable")

    def copied(self) -> Any:
        return Unknown("a copy of an iterator")

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name == "__iter__":
            return Native(name, lambda *_: self)
        if name == "__next__":
            return Native(name, lambda ev, args, kwargs, at: advanced(ev, self, at))
        if name.startswith("__"):
            return Unknown.attribute(f"attribute {name} of an iterator", place)
        return ABSENT


def advanced(ev: Evaluator, iterator: Iterator, place: SourcePlace) -> Any:
    """`next(iterator)`."""
    try:
        item = iterator.take(ev)
    except Undecided as undecided:
        return undecided.reason
    if item is ABSENT:
        raise Raised("StopIteration", "", place, given=iterator.returned())
    return item


class Positions(Iterator):
    """Goes through a sequence by position, and sees what it holds at that time."""

    __slots__ = ("holder", "kind", "step")

    def __init__(self, holder: Any, kind: str, *, backwards: bool = False) -> None:
        super().__init__()
        self.holder = holder
        self.kind = kind
        self.step = -1 if backwards else 1
        self.state["at"] = len(holder) - 1 if backwards else 0

    def _next(self, ev: Evaluator) -> Any:
        at = self.at("at")
        if not 0 <= at < len(self.holder):
            return ABSENT
        ev.writes.put(self.state, "at", at + self.step)
        return self.holder[at]


class Keys(Iterator):
    """Goes through the keys of a dict, which must not change meanwhile."""

    __slots__ = ("holder", "keys")
    kind = "dict_keyiterator"

    def __init__(self, holder: dict[Any, Any]) -> None:
        super().__init__()
        self.holder = holder
        self.keys = list(holder)
        self.state["at"] = 0

    def _next(self, ev: Evaluator) -> Any:
        at = self.at("at")
        if len(self.holder) != len(self.keys):
            raise Raised("RuntimeError", "dictionary changed size during iteration", None)
        ev.budget.spend(len(self.keys) >> 6, "keys that must not change")
        if list(self.holder) != self.keys:
            raise Undecided(Unknown("iteration over a dict whose keys changed"))
        if at >= len(self.keys):
            return ABSENT
        ev.writes.put(self.state, "at", at + 1)
        return self.keys[at]


class Pulling(Iterator):
    """An iterator whose items a function makes, of what it keeps in `state`.

    Args:
        kind: What messages call it.
        pull: Gives the next item or ABSENT, as `take` does.
        uses: The iterators that it takes from, and the functions that it calls.
        state: What it keeps; written by way of the journal alone.
    """

    __slots__ = ("kind", "pull", "uses")

    def __init__(
        self,
        kind: str,
        pull: Callable[[Evaluator, Pulling], Any],
        *uses: Any,
        **state: Any,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.pull = pull
        self.uses = uses
        self.state.update(state)

    def take_any(self, ev: Evaluator, why: Unknown) -> None:
        super().take_any(ev, why)
        for used in (*self.uses, *self.state.values()):
            if isinstance(used, Iterator):
                used.take_any(ev, why)
            elif isinstance(used, Value):
                ev.unfollowed.call(used, why)

    def _next(self, ev: Evaluator) -> Any:
        try:
            return self.pull(ev, self)
        except Raised as error:
            if error.kind != "StopIteration":
                raise
            return ABSENT  # what a function raises that it calls ends it too

    def keep(self, ev: Evaluator, name: str, value: Any) -> None:
        """Write something into its state."""
        ev.writes.put(self.state, name, value)


def unsettled(kind: str, why: Unknown, *uses: Any) -> Pulling:
    """An iterator of which not even the first item is known, that uses others and functions."""

    def pull(ev: Evaluator, it: Pulling) -> Any:
        raise Undecided(why)

    return Pulling(kind, pull, *uses)


class ByMethod(Iterator):
    """An object of the source that has `__next__`, or is called until a sentinel comes."""

    __slots__ = ("next", "place")

    def __init__(self, next_: Any, place: SourcePlace) -> None:
        super().__init__()
        self.next = next_
        self.place = place

    def _next(self, ev: Evaluator) -> Any:
        try:
            return ev.calls.call(self.next, [], {}, self.place)
        except Raised as error:
            if error.kind != "StopIteration":
                raise
            return ABSENT

    def take(self, ev: Evaluator) -> Any:
        # The object itself says whether it has ended, each time that it is asked.
        if "lost" in self.state:
            return super().take(ev)
        item = self._next(ev)
        if isinstance(item, Unknown) and not item.is_tensor:
            # It may have ended.
            self.take_any(ev, item)
            raise Undecided(item)
        return item

    def take_any(self, ev: Evaluator, why: Unknown) -> None:
        super().take_any(ev, why)
        ev.unfollowed.call(self.next, why)
