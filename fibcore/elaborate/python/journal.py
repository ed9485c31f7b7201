"""Both sides of a branch that cannot be decided: run each, undo it, merge what they wrote.

Evaluated state is plain Python state: dicts of variables and attributes, lists, sets. A journal
remembers what was there before each write, as a database does, so that a side of a branch costs
what it writes and not a copy of the world.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from fibcore.elaborate.python.values import (
    ABSENT,
    ACTIVE,
    OTHER_KEYS,
    Env,
    Raised,
    Tracker,
    alike,
    index_fn,
    is_scalar,
    kind_of,
    merge,
    same,
)
from fibcore.elaborate.python.values.iterators import Iterator as Iterated
from fibcore.elaborate.python.values.open_ended import is_doubtful
from fibcore.elaborate.python.values.scopes import Variables
from fibcore.model.tree import Alternatives, Unknown, UnknownKind

_LONG = 64
"""Parts of a container that somebody may not want to go through to see whether it has changed."""
DOUBTFUL = "an entry that depends on a branch"
Status = tuple[str, Any] | None
"""Its end: None (fell through), ("return", value), ("break", None) or ("continue", None)."""


Cell = tuple[dict[Any, Any], Any, Any]
"""A dict, one of its keys, and the value that it had."""
Whole = tuple[Any, Any]
"""A list or set, and the contents that it had."""


class Journal:
    """What was written since the journal was opened, with the values from before.

    Dictionaries (scopes, attributes, dict values) are logged by key; lists and sets as a whole,
    because an insertion moves every entry behind it. Containers are marks by their ids: they are
    held here as long as the marks are.
    """

    def __init__(self) -> None:
        self.cells: dict[tuple[int, Any], Cell] = {}
        self.wholes: dict[int, Whole] = {}
        self.orders: dict[int, tuple[dict[Any, Any], list[Any]]] = {}

    def note_cell(self, container: dict[Any, Any], key: Any) -> None:
        """Remember the value under `key` before it is written for the first time."""
        mark = (id(container), key)
        if mark not in self.cells:
            self.cells[mark] = (container, key, container.get(key, ABSENT))

    def note_whole(self, container: Any) -> None:
        """Remember the contents of a list or set before they change for the first time."""
        if id(container) not in self.wholes:
            self.wholes[id(container)] = (container, type(container)(container))

    def note(self, container: Any) -> None:
        """Remember a container before a method changes it."""
        if isinstance(container, dict):
            # Every key that it has; what it gets comes by `put`.
            for key in list(container):
                self.note_cell(container, key)
            self.note_order(container)
        else:
            self.note_whole(container)

    def made_a_change(self) -> bool:
        """Whether anything that was written is another value now than before."""
        return not all(
            _unchanged(before, container.get(key, ABSENT))
            for container, key, before in self.cells.values()
        ) or not all(
            len(before) == len(container) and all(map(operator.is_, before, container))
            for container, before in self.wholes.values()
        )

    def note_order(self, container: dict[Any, Any]) -> None:
        """Remember the order of the keys before one of them is taken away."""
        if type(container) is not Variables and id(container) not in self.orders:
            self.orders[id(container)] = (container, list(container))

    def join(self, other: Journal) -> None:
        """Take over what a later journal has noted for the first time."""
        for mark, cell in other.cells.items():
            self.cells.setdefault(mark, cell)
        for mark_id, whole in other.wholes.items():
            self.wholes.setdefault(mark_id, whole)
        for order_id, order in other.orders.items():
            self.orders.setdefault(order_id, order)

    def forget(self, made: set[int]) -> None:
        """Forget what was written into containers with these ids."""
        self.cells = {m: c for m, c in self.cells.items() if id(c[0]) not in made}
        self.wholes = {m: w for m, w in self.wholes.items() if m not in made}

    def made_a_difference(self) -> bool:
        """Whether anything stands for more values now than before."""
        return not all(
            _settled(before, container.get(key, ABSENT))
            for container, key, before in self.cells.values()
        ) or not all(
            _equal_contents(before, container) for container, before in self.wholes.values()
        )

    def undo(self) -> tuple[dict[tuple[int, Any], Any], dict[int, Any], dict[int, list[Any]]]:
        """Take everything back; returns what had been written, and the orders of keys."""
        cells, wholes, orders = {}, {}, self.key_orders()
        for mark, (container, key, before) in self.cells.items():
            cells[mark] = container.get(key, ABSENT)
            _put(container, key, before)
        for mark_id, (container, before) in self.wholes.items():
            wholes[mark_id] = type(container)(container)
            _refill(container, before)
        for container, keys in self.orders.values():
            known = [(key, container[key]) for key in keys if key in container]
            rest = [(key, value) for key, value in container.items() if key not in keys]
            container.clear()
            container.update([*known, *rest])
        return cells, wholes, orders

    def key_orders(self) -> dict[int, list[Any]]:
        """The keys of dicts that lost some, or got more than one, in their order now."""
        found = {mark: list(container) for mark, (container, _) in self.orders.items()}
        added: set[int] = set()
        for (mark, _), (container, _, before) in self.cells.items():
            if before is ABSENT and type(container) is not Variables and mark not in found:
                if mark in added:
                    found[mark] = list(container)
                added.add(mark)
        return found


def _parts(value: Any) -> tuple[Any, ...]:
    return value.values if isinstance(value, Alternatives) else (value,)


def _settled(before: Any, now: Any) -> bool:
    """Whether a round of a loop left a value as it was."""
    if before is now:
        return True
    parts = now.values if isinstance(now, Alternatives) else (now,)
    known = before.values if isinstance(before, Alternatives) else (before,)
    return all(any(alike(part, one) for one in known) for part in parts)


def _unchanged(old: Any, new: Any) -> bool:
    """Whether what was written is what was there, in the layer that was built and those like it."""
    if old is new:
        return index_fn(new) is None
    if is_scalar(old) and kind_of(old) is not kind_of(new):
        return False
    return same(old, new)


def _put(container: dict[Any, Any], key: Any, value: Any) -> None:
    if value is ABSENT:
        container.pop(key, None)
    else:
        container[key] = value


def _refill(container: Any, contents: Any) -> None:
    container.clear()
    if isinstance(container, set):
        container.update(contents)
    else:
        container.extend(contents)


_LEFT_EARLY = Unknown("whether a statement was left early")


@attrs.frozen(eq=False)
class Outcome:
    """What a way through a branch came to, before it was taken back.

    Attributes:
        status: How it ended.
        cells: The values that it left in dicts, and where; by their marks.
        wholes: The contents that it left in lists and sets.
        orders: The keys of dicts whose order it may have changed.
        before: The same as they were before.
    """

    status: Status
    cells: Mapping[tuple[int, Any], Any]
    wholes: Mapping[int, Any]
    orders: Mapping[int, list[Any]]
    before: Journal


class Region:
    """A statement or call that some ways through it leave early: a loop, a function, a `try`.

    A way that leaves it (`break` on one side of an undecided branch) is kept apart, with all that
    was written on it, while the others go on; they are merged where the region ends.

    Attributes:
        takes: The kind of status that ends here; "*" for all.
        env: The scope that it stands in; None where what it takes comes from anywhere inside.
        depth: How many journals were open where it began.
        journal: What was written since the first way left it; None as long as none did.
        left: The ways that left it.
    """

    __slots__ = ("depth", "env", "journal", "left", "takes")

    def __init__(self, takes: str, env: Env | None, depth: int) -> None:
        self.takes = takes
        self.env = env
        self.depth = depth
        self.journal: Journal | None = None
        self.left: list[Outcome] = []


class Writes:
    """Writes to evaluated state: every change goes through here, so that branches can undo it."""

    def __init__(self) -> None:
        self._journals: list[Journal] = []
        self._regions: list[Region] = []
        self.is_caught: Callable[[Raised], bool] = lambda error: True
        """Whether a handler that is around may catch an exception."""
        self._changed: set[int] = set()  # ids of long containers; another one's by now, perhaps
        self.ways_that_left = 0
        """How many ways have left a region so far."""
        self.passed_over: set[str] = set()
        """Exceptions that nothing catches, of sides that were not taken for them, by their names:
        one that comes later is the program's own unless it was one of these."""

    @property
    def innermost(self) -> Journal | None:
        """The journal of the innermost branch that is open; None outside of any."""
        return self._journals[-1] if self._journals else None

    @property
    def open(self) -> int:
        """How many journals are open: more of them inside of what may not happen."""
        return len(self._journals)

    @contextlib.contextmanager
    def outside_branches(self) -> Iterator[None]:
        """Write for good inside, whatever branches are open."""
        saved, self._journals = self._journals, []
        regions, self._regions = self._regions, []
        try:
            yield
        finally:
            self._journals, self._regions = saved, regions

    @contextlib.contextmanager
    def attempt(self, *, keep: bool = True) -> Iterator[None]:
        """Write inside, and take all of it back where that raises.

        Args:
            keep: Whether what was written stays where it does not raise.
        """
        journal = Journal()
        self._journals.append(journal)
        try:
            yield
        except Raised:
            keep = False
            raise
        finally:
            self._journals.remove(journal)
            if not keep:
                journal.undo()
            elif self._journals:
                self._journals[-1].join(journal)

    def put(self, container: dict[Any, Any], key: Any, value: Any) -> None:
        """`container[key] = value`; ABSENT deletes."""
        tracker = ACTIVE.tracker
        if tracker is not None and tracker.outside is not None and tracker.is_outside(container):
            tracker.outside.note_cell(container, key)
        if self._journals:
            journal = self._journals[-1]
            journal.note_cell(container, key)
            if value is ABSENT:
                journal.note_order(container)
        if len(container) >= _LONG:
            self._changed.add(id(container))
        _put(container, key, value)

    def is_steady(self, container: Any) -> bool:
        """Whether nothing has changed a container since it was made; false of short ones."""
        return len(container) >= _LONG and id(container) not in self._changed

    def changing(self, container: Any) -> None:
        """Say that a list or set is about to change."""
        if len(container) >= _LONG:
            self._changed.add(id(container))
        tracker = ACTIVE.tracker
        if tracker is not None and tracker.outside is not None and tracker.is_outside(container):
            tracker.outside.note(container)
        if self._journals:
            self._journals[-1].note(container)

    @contextlib.contextmanager
    def watching(self, tracker: Tracker) -> Iterator[None]:
        """Note what building the layer of a tracker changes outside of it."""
        tracker.outside = journal = Journal()
        try:
            yield
        finally:
            tracker.outside = None
            tracker.reaches_out = journal.made_a_change()

    def refill(self, container: Any, contents: Any) -> None:
        """Replace the contents of a list or set."""
        self.changing(container)
        _refill(container, contents)

    # -- ways through undecided statements -----------------------------------------------------

    def either(
        self, sides: Sequence[Callable[[], Status]], env: Env | None, why: Unknown
    ) -> Status:
        """Run every side of an undecided branch and merge their effects.

        Each side starts from the state before the branch: what the one before it wrote is taken
        back first. A side that raises is not taken, since the source as it is published runs; when
        all raise, the first exception stands. Branches nest: what an inner one comes to is written
        once its own journals are closed, and so into the journal of the side around it.

        A side that leaves (`return`, `break`) while another one goes on is kept until what it
        leaves has come to its end.

        Args:
            sides: The sides; each gives how it ended.
            env: The scope of the function that the branch stands in; None where no side leaves.
            why: Why it is not known which side is taken.

        Returns:
            How the branch ended.
        """
        return self._join(self._outcomes(sides), env, why)

    def choose(self, sides: Sequence[Callable[[], Any]], why: Unknown) -> Any:
        """One of several values, where it is not known which expression is evaluated.

        Sides that raise are none, as in `either`.
        """
        values = [partial(_value, side) for side in sides]
        outcomes = self._outcomes(values)
        self._merge_writes(outcomes, why)
        return merge(o.status[1] for o in outcomes if o.status is not None)

    def mapped(self, value: Any, each: Callable[[Any], Any]) -> Any:
        """An operation on every alternative, where it may change something."""
        if not isinstance(value, Alternatives):
            return each(value)
        sides = [partial(each, part) for part in value.values if part is not ABSENT]
        if not sides:
            return Unknown("none of the alternatives is a value")
        return self.choose(sides, Unknown("one of several values"))

    def repeat(self, round_: Callable[[], Status], env: Env | None, why: Unknown) -> Status:
        """Run a round any number of times, or never.

        What a round writes is merged with what was there, until another round adds nothing; what
        goes on changing is unknown.
        """
        for attempt in range(_MAX_ATTEMPTS):
            probe = Journal()
            self._journals.append(probe)
            outer, ACTIVE.fresh = ACTIVE.fresh, set()
            try:
                status = self.either([partial(_fallen_through, round_), lambda: None], env, why)
            finally:
                self._journals.remove(probe)
                self._keep(probe)
                fresh, ACTIVE.fresh = ACTIVE.fresh, outer
                if outer is not None:
                    outer |= fresh
            if status is not None:
                return status
            probe.forget(fresh)  # nothing outside of the round sees what it made for itself
            if not probe.made_a_difference():
                return None
            if attempt:
                self._widen(probe, why)
                if not probe.made_a_difference():
                    return None  # the next round would begin where this one did
        return None

    def _widen(self, journal: Journal, why: Unknown) -> None:
        for container, key, before in list(journal.cells.values()):
            now = container.get(key, ABSENT)
            if not _settled(before, now):
                parts = [p for v in (before, now) for p in _parts(v)]
                for part in parts:
                    self._forget(part, why)  # what is unknown now may be one of them
                self.put(container, key, merge([why, ABSENT]) if ABSENT in parts else why)
        for container, before in list(journal.wholes.values()):
            if not _equal_contents(before, container):
                lost = Unknown(f"{DOUBTFUL}: {why.reason}", why.place, UnknownKind.ENTRY)
                self.refill(container, [lost])

    def _forget(self, container: Any, why: Unknown) -> None:
        """Forget what a container holds."""
        if isinstance(container, dict):
            for key in list(container):
                self.put(container, key, merge([why, ABSENT]))
            self.put(container, OTHER_KEYS, why)
        elif isinstance(container, Iterated):
            self.put(container.state, "lost", why)
        elif isinstance(container, (list, set)):
            lost = Unknown(f"{DOUBTFUL}: {why.reason}", why.place, UnknownKind.ENTRY)
            self.refill(container, type(container)([lost]))

    def _keep(self, journal: Journal) -> None:
        """Note in the journal around it what an inner one has noted."""
        if self._journals:
            self._journals[-1].join(journal)

    def _outcomes(self, sides: Sequence[Callable[[], Status]]) -> list[Outcome]:
        """Run every side, and take back what it wrote."""
        outcomes: list[Outcome] = []
        failures: list[tuple[Raised, Outcome]] = []
        for side in sides:
            journal = Journal()
            self._journals.append(journal)
            failed: Raised | None = None
            status: Status = None
            try:
                status = side()
            except Raised as error:
                failed = error
            finally:
                self._journals.remove(journal)
                written = journal.undo()
            if failed is None:
                outcomes.append(Outcome(status, *written, journal))
            else:
                failures.append((failed, Outcome(("raise", failed), *written, journal)))
        for raised, outcome in failures if outcomes else failures[1:]:
            if self.is_caught(raised):
                self._leave(outcome, None)
            else:
                self.passed_over.add(raised.kind)
        if not outcomes:
            failed, outcome = failures[0]
            self._replay(outcome)  # what was written before it was raised stays
            raise failed
        return outcomes

    def _join(self, outcomes: list[Outcome], env: Env | None, why: Unknown) -> Status:
        """Go on with one kind of outcome, and keep those that leave."""
        going = [o for o in outcomes if o.status is None]
        if not going:
            kind = outcomes[0].status and outcomes[0].status[0]
            going = [o for o in outcomes if o.status is not None and o.status[0] == kind]
        for outcome in outcomes:
            if outcome not in going and not self._leave(outcome, env):
                # Nothing here waits for it: a frame of a generator, that looks for itself.
                going.append(outcome)
                if env and outcome.status is not None and outcome.status[0] == "return":
                    env.maybe.append(outcome.status[1])
        self._merge_writes(going, why)
        status = going[0].status
        if status is None or status[0] != "return":
            return status
        return ("return", merge(o.status[1] for o in going if o.status is not None))

    def _merge_writes(self, outcomes: Sequence[Outcome], why: Unknown) -> None:
        """Write what any side wrote; a side that did not has there what was there before."""
        marks: dict[Any, Cell] = {}
        lists: dict[int, Whole] = {}
        for outcome in outcomes:
            marks.update({m: c for m, c in outcome.before.cells.items() if m not in marks})
            lists.update({m: c for m, c in outcome.before.wholes.items() if m not in lists})
        for mark, (container, key, before) in marks.items():
            values = [o.cells.get(mark, before) for o in outcomes]
            first = values[0]
            if not all(value is first for value in values):
                self.put(container, key, merge(values))
            elif first is not before:  # else every side left it as it was
                self.put(container, key, first)
        self._merge_orders(outcomes, marks, why)
        for list_mark, (container, contents_before) in lists.items():
            contents: list[Any] = [o.wholes.get(list_mark, contents_before) for o in outcomes]
            if all(_equal_contents(contents[0], other) for other in contents[1:]):
                self.refill(container, contents[0])
            elif isinstance(container, set):
                self.refill(container, _merge_sets(contents, why))
            else:
                self.refill(container, _merge_lists(contents, why))

    def _merge_orders(
        self, outcomes: Sequence[Outcome], marks: Mapping[Any, Cell], why: Unknown
    ) -> None:
        """Order the keys of dicts as all sides left them, or note that it is not known."""
        ordered = {mark for outcome in outcomes for mark in outcome.orders}
        if not ordered:
            return
        containers = {mark: cell[0] for (mark, _), cell in marks.items() if mark in ordered}
        for mark, container in containers.items():
            keys = list(container)
            left = [o.orders[mark] for o in outcomes if mark in o.orders]
            if all(order == left[0] for order in left) and len(left) == len(outcomes):
                self._reorder(container, left[0])
                continue
            for outcome in outcomes:
                order = outcome.orders.get(mark)
                if order is not None and [key for key in keys if key in set(order)] != order:
                    self.put(container, OTHER_KEYS, why)
                    break

    def _reorder(self, container: dict[Any, Any], order: list[Any]) -> None:
        """Put the keys of a dict in an order."""
        keys = list(container)
        if keys != order and set(keys) == set(order):
            held = dict(container)
            for key in keys:
                self.put(container, key, ABSENT)
            for key in order:
                self.put(container, key, held[key])

    # -- regions -------------------------------------------------------------------------------

    def within(
        self, takes: str, env: Env, run: Callable[[], Status], why: Unknown = _LEFT_EARLY
    ) -> Status:
        """Run what some ways may leave early by a status of the kind that it takes.

        Returns:
            How it ended: None where it, or a way that left it, goes on behind it. A function ends
            with a return in any case.
        """
        region = Region(takes, env, len(self._journals))
        status, failed, last = self._run_region(region, run)
        if last is None:
            if failed is not None:
                raise failed
            return _ended(status, region.takes)
        outcomes = [attrs.evolve(o, status=_ended(o.status, takes)) for o in region.left]
        if failed is None:
            outcomes.append(attrs.evolve(last, status=_ended(status, region.takes)))
        else:
            if self.is_caught(failed):
                self._leave(attrs.evolve(last, status=("raise", failed)), None)
            else:
                self.passed_over.add(failed.kind)
        return self._join(outcomes, env, why)

    def take_no_more(self) -> None:
        """Let what leaves from here on leave the innermost region as well."""
        self._regions[-1].takes = ""

    def trying(
        self,
        body: Callable[[], Status],
        handle: Callable[[Raised], Status],
        otherwise: Callable[[], Status],
        env: Env | None,
        why: Unknown,
    ) -> Status:
        """Run a body whose exceptions are handled, those of undecided branches too."""
        region = Region("raise", None, len(self._journals))
        status, failed, last = self._run_region(region, body)

        def goes_on() -> Status:
            if last is not None:
                self._replay(last)
            if failed is not None:
                return handle(failed)
            return status if status is not None else otherwise()

        if last is None:
            return goes_on()

        def handled(outcome: Outcome) -> Status:
            assert outcome.status is not None
            self._replay(outcome)
            return handle(outcome.status[1])

        return self.either([goes_on, *(partial(handled, o) for o in region.left)], env, why)

    def finishing(
        self,
        body: Callable[[], Status],
        finish: Callable[[Status, Raised | None], Status],
        env: Env,
        why: Unknown,
    ) -> Status:
        """Run a body, and what ends it (`finally`, a context) whichever way leaves the body."""
        region = Region("*", None, len(self._journals))
        status, failed, last = self._run_region(region, body)
        if last is None:
            return finish(status, failed)

        def finished(outcome: Outcome, status: Status, failed: Raised | None) -> Status:
            self._replay(outcome)
            return finish(status, failed)

        sides = [partial(finished, last, status, failed)]
        for outcome in region.left:
            left = outcome.status
            assert left is not None
            raised = left[1] if left[0] == "raise" else None
            sides.append(partial(finished, outcome, None if raised else left, raised))
        return self.either(sides, env, why)

    def _run_region(
        self, region: Region, run: Callable[[], Status]
    ) -> tuple[Status, Raised | None, Outcome | None]:
        """How a region ended, with which exception, and what it wrote where ways left it."""
        self._regions.append(region)
        status: Status = None
        failed: Raised | None = None
        try:
            status = run()
        except Raised as error:
            failed = error
        finally:
            self._regions.remove(region)
            if region.journal is not None:
                self._journals.remove(region.journal)
        if region.journal is None:
            return status, failed, None
        return status, failed, Outcome(status, *region.journal.undo(), region.journal)

    def _replay(self, outcome: Outcome) -> None:
        for mark, (container, key, _) in outcome.before.cells.items():
            self.put(container, key, outcome.cells[mark])
        for (dict_id, _), (container, _, _) in outcome.before.cells.items():
            if dict_id in outcome.orders:
                self._reorder(container, outcome.orders[dict_id])
        for mark_id, (container, _) in outcome.before.wholes.items():
            self.refill(container, outcome.wholes[mark_id])

    def _leave(self, outcome: Outcome, env: Env | None) -> bool:
        """Keep a way that leaves a region until that ends; whether there is such a region."""
        assert outcome.status is not None
        kind = outcome.status[0]
        for region in reversed(self._regions):
            if region.takes in (kind, "*") and (region.env is None or region.env is env):
                break
        else:
            return False
        if region.journal is None:
            region.journal = Journal()
            self._journals.insert(region.depth, region.journal)
            for inner in self._regions[self._regions.index(region) + 1 :]:
                inner.depth += 1
        before = Journal()
        cells: dict[Any, Any] = {}
        wholes: dict[int, Any] = {}
        for journal in self._journals[region.depth :]:
            before.join(journal)
        for mark, (container, key, _) in before.cells.items():
            cells[mark] = container.get(key, ABSENT)
        for mark_id, (whole, _) in before.wholes.items():
            wholes[mark_id] = type(whole)(whole)
        orders = {**before.key_orders(), **outcome.orders}
        before.join(outcome.before)
        cells.update(outcome.cells)
        wholes.update(outcome.wholes)
        region.left.append(Outcome(outcome.status, cells, wholes, orders, before))
        self.ways_that_left += 1
        return True


_MAX_ATTEMPTS = 12
"""Rounds of a loop before what it changes is left at what it is by then: unknown."""


def _value(side: Callable[[], Any]) -> Status:
    return ("value", side())


def _fallen_through(round_: Callable[[], Status]) -> Status:
    status = round_()
    return None if status is not None and status[0] == "continue" else status


def _ended(status: Status, takes: str) -> Status:
    """How what is behind a region goes on."""
    if takes == "return":
        return ("return", None) if status is None else status
    return None if status is not None and status[0] == takes else status


def _equal_contents(a: Any, b: Any) -> bool:
    if isinstance(a, set):
        return bool(a == b)
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=False))


def _merge_sets(contents: list[Any], why: Unknown) -> set[Any]:
    """One set for several: what all of them hold, and perhaps more."""
    certain = set(contents[0]).intersection(*contents[1:])
    return certain | {Unknown(f"{DOUBTFUL}: {why.reason}", why.place, UnknownKind.ENTRY)}


def _merge_lists(contents: list[Any], why: Unknown) -> list[Any]:
    """One list for several, entry by entry."""
    longest = max(len(c) for c in contents)
    merged = [merge(c[n] if n < len(c) else ABSENT for c in contents) for n in range(longest)]
    # Where an entry may be absent the length itself is unknown: it cannot be counted on, nor can
    # what is appended behind it later.
    return [
        Unknown(f"{DOUBTFUL}: {why.reason}", why.place, UnknownKind.ENTRY)
        if isinstance(entry, Alternatives)
        and (ABSENT in entry.values or any(map(is_doubtful, entry.values)))
        else entry
        for entry in merged
    ]
