"""`with` statements."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.mode import guarded
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import Env, Raised, Value
from fibcore.model.tree import Alternatives, SourcePlace, Unknown


class Contexts(Part):
    """Enters and leaves contexts."""

    def handlers(self) -> Handlers:
        return {ast.With: self.with_}

    def with_(self, node: ast.With, env: Env) -> Status:
        return self.within(node.items, env, partial(self.ev.statements.block, node.body, env))

    def within(self, items: list[ast.withitem], env: Env, body: Callable[[], Status]) -> Status:
        """Run a body inside of contexts, the first one outermost."""
        if not items:
            return body()
        item, place = items[0], env.module.place(items[0].context_expr)
        manager = self.ev.expressions.eval(item.context_expr, env)
        entered = self.enter(manager, place)

        def inside() -> Status:
            with self.ev.within(self._mode(manager)):
                if item.optional_vars is not None:
                    self.ev.assignments.assign(item.optional_vars, entered, env)
                return self.within(items[1:], env, body)

        def finish(status: Status, error: Raised | None) -> Status:
            if error is not None:
                return self.left_by(manager, error, env, place)
            self.leave(manager, None, place)
            return status

        return self.ev.writes.finishing(inside, finish, env, Unknown("how it was left", place))

    def _mode(self, manager: Any) -> Any:
        # What a suppressing context swallows has to reach it.
        names = manager.suppressed if isinstance(manager, Value) else frozenset()
        return guarded(self.ev.mode, names)

    def left_by(self, manager: Any, error: Raised, env: Env, place: SourcePlace) -> Status:
        """Leave a context by an exception, which it may swallow."""
        self.ev.exceptions.caught(error)
        with self.ev.exceptions.handling(error):
            swallowed = self.leave(manager, error, place)
        if swallowed is None:
            why = Unknown("whether a context swallows an exception", place)
            return self.ev.writes.either([lambda: None, partial(_raise, error)], env, why)
        if not swallowed:
            raise error
        self.ev.forward.note_abandoned()
        return None

    def enter(self, manager: Any, place: SourcePlace) -> Any:
        """`manager.__enter__()`."""
        if isinstance(manager, Value):
            return manager.enter(self.ev, place)
        if not isinstance(manager, (Unknown, Alternatives)):
            name = plain.kind_name(manager)
            raise Raised("TypeError", f"{name!r} object is no context manager", place)
        # Before Python 3.11 it was the other one.
        self.ev.exceptions.may_raise(place, "TypeError", "AttributeError")
        return Unknown("what a with statement enters", place)

    def leave(self, manager: Any, error: Raised | None, place: SourcePlace) -> bool | None:
        """`manager.__exit__(...)`; whether it swallows the exception, None where unknown."""
        return manager.leave(self.ev, error, place) if isinstance(manager, Value) else False


def _raise(error: Raised) -> Status:
    raise error
