"""Generators of the source: functions that stand still between two items."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from collections.abc import Generator as Frame
from collections.abc import Iterator as Rounds
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised
from fibcore.elaborate.python.values.classes import Class
from fibcore.elaborate.python.values.exceptions import (
    ExceptionObject,
    exception_bases,
    exception_of,
)
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import Native
from fibcore.elaborate.python.values.iterators import Iterator, Undecided
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


class _Collecting:
    """Whether the garbage collector runs, which comes at no place of the source."""

    def __init__(self) -> None:
        self.now = False
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        self.now = phase == "start"


_COLLECTING = _Collecting()


class Generator(Iterator):
    """A generator.

    What its frame has done cannot be taken back. So it is lost, and what it gives unknown, once it
    is advanced inside of an undecided branch in which it was not made.

    Attributes:
        frame: Runs the body, from one yield to the next.
        reached: Gives what the body may change.
        doubt: Why it is not known when nobody has it any more; None where that is known.
        quiet: Whether nothing is done where it is closed.
    """

    __slots__ = (
        "_lost", "doubt", "ev", "frame", "handled", "home", "place", "quiet", "reached", "result",
        "running", "started",
    )  # fmt: skip
    kind = "generator"

    def __init__(
        self,
        ev: Evaluator,
        frame: Frame[Any, Any, Any],
        reached: Callable[[], list[Any]],
        place: SourcePlace,
        *,
        quiet: bool,
    ) -> None:
        super().__init__()
        self.ev = ev
        self.quiet = quiet
        self.frame = frame
        self.reached = reached
        self.place = place
        self.home = ev.writes.innermost
        self.handled: list[Raised] = []
        self.result: Any = None
        self.running = False
        self.started = False
        self.doubt: Unknown | None = None
        self._lost: Unknown | None = None

    @property
    def stands(self) -> bool:
        """Whether its frame stands still at a yield."""
        return self.started and not self.running and "ended" not in self.state

    def take(self, ev: Evaluator) -> Any:
        return self.send(ev, None)

    def take_any(self, ev: Evaluator, why: Unknown) -> None:
        if self._lost is None and "ended" not in self.state:
            self._lose_all(why)

    def returned(self) -> Any:
        result, self.result = self.result, None
        return () if result is None else (result,)

    def send(self, ev: Evaluator, value: Any) -> Any:
        """`generator.send(value)`; as `take` else."""
        if not self.started and value is not None and "ended" not in self.state:
            message = "can't send non-None value to a just-started generator"
            raise Raised("TypeError", message, self.place)
        return self._resume(ev, lambda: self.frame.send(value if self.started else None))

    def throw(self, ev: Evaluator, error: Raised) -> Any:
        """`generator.throw(exception)`; as `take` else."""
        if "ended" in self.state or not self.started:
            self._end(ev)
            raise error
        return self._resume(ev, lambda: self.frame.throw(error))

    def close(self, ev: Evaluator) -> None:
        """`generator.close()`."""
        if "ended" in self.state or not self.started:
            self._end(ev)
            return
        value = ExceptionObject(Ext("GeneratorExit"), (), self.place)
        error = Raised("GeneratorExit", "", self.place, explicit=True, value=value)
        try:
            item = self.throw(ev, error)
        except Raised as other:
            if other.kind in ("GeneratorExit", "StopIteration"):
                return
            raise
        finally:
            error.catch()
        if item is not ABSENT:
            raise Raised("RuntimeError", "generator ignored GeneratorExit", self.place)

    def _end(self, ev: Evaluator) -> None:
        self._enter(ev)
        self.state["ended"] = True
        self.frame.close()

    def _enter(self, ev: Evaluator) -> None:
        if self._lost is None and ev.writes.innermost is not self.home:
            self._lose_all(Unknown("a generator that one side of a branch advanced", self.place))
        if self._lost is not None:
            raise Undecided(self._lost)
        # For whoever notes what is written: other layers find the generator elsewhere.
        ev.writes.put(self.state, "steps", self.state.get("steps", 0) + 1)

    def _lose_all(self, why: Unknown) -> None:
        """Note that neither the frame nor what it does is followed any more."""
        self._lost = why
        self.ev.doubts.hand_over(self.reached(), why)

    def __del__(self) -> None:
        """Close a generator that nobody has any more, as reference counts have it."""
        ev = self.ev
        if not self.stands or self._lost is not None or _COLLECTING.now or not ev.calls.depth:
            return
        if ev.writes.innermost is self.home:
            with contextlib.suppress(Raised, Undecided, Exhausted):
                if self.doubt is None:
                    self.close(ev)
                else:
                    ev.writes.choose([self._close_once, lambda: None], self.doubt)

    def _close_once(self) -> None:
        # What the frame does is not taken back, but there is nobody who has it.
        self.home = self.ev.writes.innermost
        self.close(self.ev)

    def _resume(self, ev: Evaluator, step: Any) -> Any:
        if self.running:
            raise Raised("ValueError", "generator already executing", self.place)
        if self._lost is None and "ended" in self.state:
            self.result = None  # the end that it was given with has been met
            return ABSENT
        self._enter(ev)
        self.running = self.started = True
        try:
            with self._frame(ev):
                return step()
        except StopIteration as stop:
            self.state["ended"] = True
            self.result = stop.value
            return ABSENT
        except Undecided as undecided:
            self._lose_all(undecided.reason)
            raise
        except Raised as error:
            self.state["ended"] = True
            if error.kind == "StopIteration":
                raise _stopped(error, self.place) from None
            raise
        finally:
            self.running = False

    @contextlib.contextmanager
    def _frame(self, ev: Evaluator) -> Rounds[None]:
        """While the frame runs, what it handles are the innermost exceptions that are handled."""
        handled = ev.exceptions.handled
        below = len(handled)
        handled.extend(self.handled)
        ev.calls.depth += 1
        try:
            yield
        finally:
            ev.calls.depth -= 1
            self.handled = handled[below:]
            del handled[below:]

    # -- its methods ---------------------------------------------------------------------------

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        known = {"send": self._send, "throw": self._throw, "close": self._close}
        if name in known:
            return Native(name, known[name])
        return super().find_attr(ev, name, place)

    def _given(self, item: Any, place: SourcePlace) -> Any:
        if item is ABSENT:
            raise Raised("StopIteration", "", place, given=self.returned())
        return item

    def _send(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        try:
            return self._given(self.send(ev, args[0]), place)
        except Undecided as undecided:
            return undecided.reason

    def _throw(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        value = args[0] if len(args) == 1 else None
        if isinstance(value, (Class, Ext)) and exception_bases(value):
            value = ev.calls.call(value, [], {}, place)
        if not isinstance(value, ExceptionObject):
            self._lost = Unknown("an exception thrown into a generator", place)
            return self._lost
        error = (value.raised and value.raised.again()) or Raised(
            value.class_name, "", place, explicit=True, value=value
        )
        value.raised = error.again()
        try:
            return self._given(self.throw(ev, error), place)
        except Undecided as undecided:
            return undecided.reason

    def _close(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        try:
            self.close(ev)
        except Undecided as undecided:
            return undecided.reason
        return None


def _stopped(error: Raised, place: SourcePlace) -> Raised:
    """What StopIteration becomes that the body of a generator raises."""
    given = ("generator raised StopIteration",)
    value = ExceptionObject(Ext("RuntimeError"), given, place)
    value.state |= {
        "__cause__": exception_of(error),
        "__context__": exception_of(error),
        "__suppress_context__": True,
    }
    return Raised("RuntimeError", given[0], place, value=value)


def doubt_end(value: Any, why: Unknown) -> None:
    """Note that it is not known when the generators that a value holds are dropped."""
    for generator in generators_in(value):
        generator.doubt = why


def generators_in(value: Any, depth: int = 3) -> list[Generator]:
    """The generators that a value holds, as far as it is small."""
    if isinstance(value, Generator):
        return [value]
    if not depth:
        return []
    held: Any = ()
    if isinstance(value, Iterator):
        held = (*value.state.values(), *value.uses)
    elif isinstance(value, dict):
        held = value.values()
    elif isinstance(value, (list, tuple)):
        held = value
    if not held or len(held) > _FEW:
        return []
    return [found for each in held for found in generators_in(each, depth - 1)]


_FEW = 32
"""Items of a container that is looked through for generators."""
