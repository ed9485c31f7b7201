"""Context managers of `contextlib`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.pure import ANYTHING
from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised, Value
from fibcore.elaborate.python.values.classes import Class
from fibcore.elaborate.python.values.exceptions import exception_of
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import Native
from fibcore.elaborate.python.values.iterators import Undecided
from fibcore.elaborate.python.values.tracking import born
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values.generators import Generator


class Context(Value):
    """What all of them have in common: `__enter__` and `__exit__` can be called too."""

    __slots__ = ()

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name == "__enter__":
            return Native(name, lambda ev, args, kwargs, at: self.enter(ev, at))
        if name == "__exit__":
            return Native(name, self._exit)
        return Unknown.attribute(f"attribute {name} of a context manager", place)

    def _exit(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        error = args[1] if len(args) > 1 else None
        if error is None:
            return self.leave(ev, None, place)
        raised = getattr(error, "raised", None)
        if not isinstance(raised, Raised):
            return Unknown("__exit__ called with something that was not raised", place)
        swallowed = self.leave(ev, raised.again(), place)
        return Unknown("__exit__", place) if swallowed is None else swallowed


def _failed(message: str, place: SourcePlace) -> Raised:
    return Raised("RuntimeError", message, place, given=(message,))


class GeneratorContext(Context):
    """What a function below `contextlib.contextmanager` gives."""

    __slots__ = ("again", "generator", "handled")

    def __init__(
        self, generator: Generator, again: Callable[[], Any], handled: frozenset[str]
    ) -> None:
        self.generator = generator
        self.again = again
        self.handled = handled

    def swallows(self, ev: Evaluator) -> frozenset[str]:
        return self.handled

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        try:
            entered = self.generator.take(ev)
        except Undecided as undecided:
            return undecided.reason
        if entered is ABSENT:
            raise _failed("generator didn't yield", place)
        return entered

    def leave(self, ev: Evaluator, error: Raised | None, place: SourcePlace) -> bool | None:
        try:
            item = self.generator.throw(ev, error) if error else self.generator.take(ev)
        except Undecided:
            return None
        except Raised as other:
            if error is None:
                raise
            mine, theirs = exception_of(error), exception_of(other)
            # A generator makes a RuntimeError of a StopIteration; contextlib takes that back.
            stopped = error.kind == "StopIteration" and theirs.state["__cause__"] is mine
            if theirs is not mine and not stopped:
                raise
            return False
        if item is ABSENT:
            return error is not None
        raise _failed("generator didn't stop" + (" after throw()" if error else ""), place)

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return True

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """Decorate a function, each call of which is made inside of a new context."""
        func = args[0] if args else None

        def run(ev: Evaluator, given: Args, named: Kwargs, at: SourcePlace) -> Any:
            manager = self.again()
            manager.enter(ev, at)
            try:
                result = ev.calls.call(func, given, named, at)
            except Raised as error:
                if manager.leave(ev, error, at):
                    return None
                raise
            manager.leave(ev, None, at)
            return result

        return Native("function", run)


class NullContext(Context):
    """`contextlib.nullcontext`, and what else does nothing when it is left."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        return self.value


class Closing(NullContext):
    """`contextlib.closing`."""

    __slots__ = ()

    def leave(self, ev: Evaluator, error: Raised | None, place: SourcePlace) -> bool | None:
        ev.calls.call(ev.attributes.get(self.value, "close", place), [], {}, place)
        return False


class Suppress(Context):
    """`contextlib.suppress`."""

    __slots__ = ("kinds", "suppressed")

    def __init__(self, kinds: tuple[Any, ...]) -> None:
        self.kinds = kinds
        self.suppressed = frozenset(
            kind.name.rpartition(".")[2] for kind in kinds if isinstance(kind, (Class, Ext))
        )

    def swallows(self, ev: Evaluator) -> frozenset[str]:
        return self.suppressed

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        return None

    def leave(self, ev: Evaluator, error: Raised | None, place: SourcePlace) -> bool | None:
        return False if error is None else ev.exceptions.catches(self.kinds, error, None, place)


class ExitStack(Context):
    """`contextlib.ExitStack`."""

    __slots__ = ("leaving",)

    def __init__(self) -> None:
        self.leaving: list[Any] = born([])

    def swallows(self, ev: Evaluator) -> frozenset[str]:
        return ANYTHING  # whatever contexts it gets

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        return self

    def leave(self, ev: Evaluator, error: Raised | None, place: SourcePlace) -> bool | None:
        swallowed: bool | None = False
        pending = error
        while self.leaving:
            ev.writes.changing(self.leaving)
            leave = self.leaving.pop()
            try:
                answer = leave(ev, pending, place)
            except Raised as other:
                pending, swallowed = other, False
                continue
            if pending is not None and answer is not False:
                if answer is None:
                    return None
                pending, swallowed = None, True
        if pending is not None and pending is not error:
            raise pending
        return swallowed if error is not None else False

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        known: dict[str, Callable[..., Any]] = {
            "enter_context": self._enter_context,
            "push": self._push,
            "callback": self._callback,
            "close": lambda ev, args, kwargs, at: self.leave(ev, None, at) and None,
            "pop_all": self._pop_all,
        }
        return Native(name, known[name]) if name in known else super().find_attr(ev, name, place)

    def _keep(self, ev: Evaluator, leave: Callable[..., bool | None]) -> None:
        ev.writes.changing(self.leaving)
        self.leaving.append(leave)

    def _enter_context(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        manager = args[0]
        entered = ev.contexts.enter(manager, place)
        self._keep(ev, lambda ev, error, at: ev.contexts.leave(manager, error, at))
        return entered

    def _push(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        manager = args[0]
        if isinstance(manager, Value) and not manager.is_callable(ev, place):
            self._keep(ev, lambda ev, error, at: ev.contexts.leave(manager, error, at))
            return manager

        def leave(ev: Evaluator, error: Raised | None, at: SourcePlace) -> bool | None:
            given = ev.exceptions.exit_arguments(error, at)
            return bool(ev.operators.truth(ev.calls.call(manager, given, {}, at)))

        self._keep(ev, leave)
        return manager

    def _callback(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        def leave(ev: Evaluator, error: Raised | None, at: SourcePlace) -> bool | None:
            ev.calls.call(args[0], args[1:], kwargs, at)
            return False

        self._keep(ev, leave)
        return args[0]

    def _pop_all(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        other = ExitStack()
        other.leaving = list(self.leaving)
        ev.writes.refill(self.leaving, [])
        return other
