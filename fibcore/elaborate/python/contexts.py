"""`with` statements."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.mode import Mode, guarded
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import Class, Env, Ext, Obj, Raised, Value
from fibcore.elaborate.python.values.contexts import Suppress
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

    def _mode(self, manager: Any) -> Mode:
        # What a suppressing context swallows has to reach it.
        return guarded(self.ev.mode, self.swallowed(manager))

    def swallowed(self, manager: Any) -> frozenset[str]:
        """The names of the exceptions that a context may swallow."""
        names: frozenset[str] = frozenset()
        for each in manager.values if isinstance(manager, Alternatives) else (manager,):
            # In a forward pass a statement that raises is lost alone, if nothing says that it may.
            if isinstance(each, Suppress) or (isinstance(each, Value) and not self.ev.mode.forward):
                names |= each.swallows(self.ev)
        return names

    def left_by(self, manager: Any, error: Raised, env: Env, place: SourcePlace) -> Status:
        """Leave a context by an exception, which it may swallow."""
        self.ev.exceptions.caught(error)
        with self.ev.exceptions.handling(error):
            swallowed = self.leave(manager, error, place)
        if swallowed is False and self.ev.writes.is_caught(error) and self._is_foreign(manager):
            swallowed = None
        if swallowed is None:
            why = Unknown("whether a context swallows an exception", place)
            return self.ev.writes.either([lambda: None, partial(_raise, error)], env, why)
        if not swallowed:
            raise error
        self.ev.forward.note_abandoned()
        return None

    def _is_foreign(self, manager: Any) -> bool:
        """Whether nothing is known of how a context is left."""
        if isinstance(manager, (Unknown, Ext)):
            return True
        if not isinstance(manager, Obj):
            return False
        return not isinstance(manager.cls, Class) or not manager.says(self.ev, "__exit__")

    def enter(self, manager: Any, place: SourcePlace) -> Any:
        """`manager.__enter__()`."""
        if isinstance(manager, Alternatives):
            return self.ev.writes.mapped(manager, lambda each: self.enter(each, place))
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
        if isinstance(manager, Alternatives):
            left = self.ev.writes.mapped(manager, lambda each: self.leave(each, error, place))
            return left if isinstance(left, bool) else None
        return manager.leave(self.ev, error, place) if isinstance(manager, Value) else False


def _raise(error: Raised) -> Status:
    raise error
