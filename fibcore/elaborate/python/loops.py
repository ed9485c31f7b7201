"""Loops, with a known number of rounds or not."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import ABSENT, Env, merge
from fibcore.model.tree import Alternatives, Unknown

MAX_WHILE = 4096
MAX_UNDECIDED_ROUNDS = 3
"""Rounds of a loop that may have returned before it is left."""


class Loops(Part):
    """Runs loops."""

    def handlers(self) -> Handlers:
        return {
            ast.For: self.for_,
            ast.While: self.while_,
        }

    def for_(self, node: ast.For, env: Env) -> Status:
        return self._loop(node, self.ev.expressions.eval(node.iter, env), env)

    def _loop(self, node: ast.For, iterable: Any, env: Env) -> Status:
        place = env.module.place(node)
        if isinstance(iterable, Alternatives):
            sides: list[Callable[[], Status]] = [
                partial(self._loop, node, value, env)
                for value in iterable.values
                if value is not ABSENT
            ]
            return self.ev.writes.either(sides, env, Unknown("one of several ranges", place))
        items = None if isinstance(iterable, Unknown) else self.ev.operators.items(iterable)
        if items is None:
            why = (
                iterable
                if isinstance(iterable, Unknown)
                else Unknown("an unknown number of rounds", place)
            )

            def once() -> Status:
                self.ev.assignments.assign(
                    node.target, Unknown(f"an item of something unknown: {why.reason}", place), env
                )
                return _only_return(self.ev.statements.block(node.body, env))

            # One round tells what any of them does to the names; or there is none.
            status = self.ev.writes.either([once, lambda: None], env, why)
            return status if status is not None else self.ev.statements.block(node.orelse, env)
        for item in items:
            self.ev.assignments.assign(node.target, item, env)
            status = self.ev.statements.block(node.body, env)
            if status is None or status[0] == "continue":
                continue
            if status[0] == "break":
                return None
            return status
        return self.ev.statements.block(node.orelse, env)

    def while_(self, node: ast.While, env: Env) -> Status:
        first = len(env.maybe)
        undecided = 0
        for _ in range(MAX_WHILE):
            seen = len(env.maybe)
            truth = self.ev.operators.truth(self.ev.expressions.condition(node.test, env))
            if truth is None:
                return self.ev.writes.either(
                    [lambda: _only_return(self.ev.statements.block(node.body, env)), lambda: None],
                    env,
                    Unknown("an unknown number of rounds", env.module.place(node)),
                )
            if not truth:
                return self.ev.statements.block(node.orelse, env)
            status = self.ev.statements.block(node.body, env)
            if status is not None and status[0] == "break":
                return None
            if status is not None and status[0] == "return":
                return status
            undecided += len(env.maybe) > seen
            if undecided >= MAX_UNDECIDED_ROUNDS:
                # Some round returned, and which is not known: more of them tell nothing new.
                return ("return", merge(env.maybe[first:]))
        self.ev.notes.append(Unknown("a loop that does not end", env.module.place(node)))
        return None


def _only_return(status: Status) -> Status:
    return status if status is not None and status[0] == "return" else None
