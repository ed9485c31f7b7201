"""Both sides of a branch that cannot be decided: run each, undo it, merge what they wrote.

Evaluated state is plain Python state: dicts of variables and attributes, lists, sets. A journal
remembers what was there before each write, as a database does, so that a side of a branch costs
what it writes and not a copy of the world.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from fibcore.elaborate.python.values import (
    ABSENT,
    ACTIVE,
    Env,
    Raised,
    Tracker,
    index_fn,
    is_scalar,
    kind_of,
    merge,
    same,
)
from fibcore.model.tree import Alternatives, Unknown, UnknownKind

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

    def join(self, inner: Journal) -> None:
        """Remember what an inner journal does, of what this one does not remember yet."""
        for mark, cell in inner.cells.items():
            self.cells.setdefault(mark, cell)
        for number, whole in inner.wholes.items():
            self.wholes.setdefault(number, whole)

    def undo(self) -> tuple[dict[tuple[int, Any], Any], dict[int, Any]]:
        """Take everything back; returns what had been written."""
        cells, wholes = {}, {}
        for mark, (container, key, before) in self.cells.items():
            cells[mark] = container.get(key, ABSENT)
            _put(container, key, before)
        for mark_id, (container, before) in self.wholes.items():
            wholes[mark_id] = type(container)(container)
            _refill(container, before)
        return cells, wholes


def _unchanged(old: Any, new: Any) -> bool:
    """Whether what was written is what was there, in the layer that was built and those like it."""
    if old is new:
        return index_fn(new) is None
    if is_scalar(old) and kind_of(old) is not kind_of(new):
        return False
    return not isinstance(new, (list, dict, set)) and same(old, new)


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


@attrs.frozen
class _Outcome:
    """What a side of a branch came to: how it ended, and what it wrote before it was undone."""

    status: Status
    journal: Journal
    cells: dict[tuple[int, Any], Any]
    wholes: dict[int, Any]


class Writes:
    """Writes to evaluated state: every change goes through here, so that branches can undo it."""

    def __init__(self) -> None:
        self._journals: list[Journal] = []

    @property
    def innermost(self) -> Journal | None:
        """The journal of the innermost branch that is open; None outside of any."""
        return self._journals[-1] if self._journals else None

    @contextlib.contextmanager
    def outside_branches(self) -> Iterator[None]:
        """Write for good inside, whatever branches are open."""
        saved, self._journals = self._journals, []
        try:
            yield
        finally:
            self._journals = saved

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Write inside, and take all of it back where that raises."""
        journal = Journal()
        self._journals.append(journal)
        try:
            yield
        except Raised:
            journal.undo()
            raise
        finally:
            self._journals.remove(journal)
            if self._journals:
                self._journals[-1].join(journal)

    def put(self, container: dict[Any, Any], key: Any, value: Any) -> None:
        """`container[key] = value`; ABSENT deletes."""
        tracker = ACTIVE.tracker
        if tracker is not None and tracker.outside is not None and tracker.is_outside(container):
            tracker.outside.note_cell(container, key)
        if self._journals:
            self._journals[-1].note_cell(container, key)
        _put(container, key, value)

    def changing(self, container: Any) -> None:
        """Say that a list or set is about to change."""
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

    def either(self, sides: list[Callable[[], Status]], env: Env, why: Unknown) -> Status:
        """Run every side of an undecided branch and merge their effects.

        Each side starts from the state before the branch: what the one before it wrote is taken
        back first. A side that raises is not taken, since the source as it is published runs; when
        all raise, the first exception stands. Branches nest: what an inner one comes to is written
        once its own journals are closed, and so into the journal of the side around it.

        Args:
            sides: The sides; each gives how it ended.
            env: The scope of the function that the branch stands in.
            why: Why it is not known which side is taken.

        Returns:
            How the branch ended.
        """
        outcomes: list[_Outcome] = []
        failure: Raised | None = None
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
                self._journals.pop()
                cells, wholes = journal.undo()
            if failed is None:
                outcomes.append(_Outcome(status, journal, cells, wholes))
            else:
                failure = failure or failed
        if not outcomes:
            assert failure is not None
            raise failure
        self._merge_writes(outcomes, why)
        return _merge_status([o.status for o in outcomes], env)

    def _merge_writes(self, outcomes: list[_Outcome], why: Unknown) -> None:
        """Write what any side wrote; a side that did not has there what was there before."""
        marks: dict[Any, Cell] = {}
        lists: dict[int, Whole] = {}
        for outcome in outcomes:
            marks.update({m: c for m, c in outcome.journal.cells.items() if m not in marks})
            lists.update({m: c for m, c in outcome.journal.wholes.items() if m not in lists})
        for mark, (container, key, before) in marks.items():
            self.put(container, key, merge(o.cells.get(mark, before) for o in outcomes))
        for list_mark, (container, contents_before) in lists.items():
            contents: list[Any] = [o.wholes.get(list_mark, contents_before) for o in outcomes]
            if all(_equal_contents(contents[0], other) for other in contents[1:]):
                self.refill(container, contents[0])
            elif isinstance(container, set):
                # A limit: what may be in the set is in it, and nothing says that it is doubtful.
                self.refill(container, {item for each in contents for item in each})
            else:
                self.refill(container, _merge_lists(contents, why))


def _merge_status(statuses: list[Status], env: Env) -> Status:
    returned = [s[1] for s in statuses if s is not None and s[0] == "return"]
    others = [s for s in statuses if s is None or s[0] != "return"]
    if not others:
        return ("return", merge(returned))
    # The function may have returned here. It is followed to its end all the same, and these values
    # are added to what it comes to there.
    env.maybe.extend(returned)
    if any(s is None for s in others):
        return None
    # Where one side ends the loop and the other goes on with it, the loop goes on.
    return next((s for s in others if s is not None and s[0] == "continue"), others[0])


def _equal_contents(a: Any, b: Any) -> bool:
    if isinstance(a, set):
        return bool(a == b)
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=False))


def _merge_lists(contents: list[Any], why: Unknown) -> list[Any]:
    """One list for several, entry by entry."""
    longest = max(len(c) for c in contents)
    merged = [merge(c[n] if n < len(c) else ABSENT for c in contents) for n in range(longest)]
    # Where an entry may be absent the length itself is unknown: it cannot be counted on, nor can
    # what is appended behind it later.
    return [
        Unknown(f"{DOUBTFUL}: {why.reason}", why.place, UnknownKind.ENTRY)
        if isinstance(entry, Alternatives) and ABSENT in entry.values
        else entry
        for entry in merged
    ]
