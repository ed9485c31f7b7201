"""Loops, with a known number of rounds or not."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import ABSENT, Env, merge
from fibcore.elaborate.python.values.generators import Generator
from fibcore.elaborate.python.values.iterators import Undecided
from fibcore.model.tree import Alternatives, Unknown

_LEFT: Status = ("break", None)
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
        rounds = self.ev.iteration.rounds(iterable, place)
        if rounds is None:
            why = (
                iterable
                if isinstance(iterable, Unknown)
                else Unknown("an unknown number of rounds", place)
            )
            return self._unknown_rounds(node, why, env)
        status = self._rounds(node, rounds, env)
        if (
            status is not None
            and isinstance(iterable, Generator)
            and isinstance(node.iter, ast.Call)
        ):
            iterable.close(self.ev)  # nobody else has it
        return None if status is _LEFT else status

    def _unknown_rounds(self, node: ast.For, why: Unknown, env: Env) -> Status:
        """A loop of which not even the number of rounds is known, or that of the rounds left."""

        def once() -> Status:
            item = Unknown(f"an item of something unknown: {why.reason}", env.module.place(node))
            self.ev.assignments.assign(node.target, item, env)
            return _only_return(self.ev.statements.block(node.body, env))

        # One round tells what any of them does to the names; or there is none.
        status = self.ev.writes.either([once, lambda: None], env, why)
        return status if status is not None else self.ev.statements.block(node.orelse, env)

    def _rounds(self, node: ast.For, rounds: Iterator[Any], env: Env) -> Status:
        """The rounds of a loop, and its `else`; `_LEFT` where a break ended it."""
        while True:
            self.ev.budget.step()
            try:
                item = next(rounds)
            except StopIteration:
                break
            except Undecided as undecided:
                return self._unknown_rounds(node, undecided.reason, env)
            self.ev.assignments.assign(node.target, item, env)
            status = self.ev.statements.block(node.body, env)
            if status is None or status[0] == "continue":
                continue
            return _LEFT if status[0] == "break" else status
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
