"""Loops, with a known number of rounds or not."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fibcore.elaborate.python.branches import exits_of
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import ABSENT, Env, one_of
from fibcore.elaborate.python.values.iterators import Undecided
from fibcore.model.tree import Alternatives, Unknown

MAX_UNDECIDED_ROUNDS = 3
"""Rounds of a loop that may have been left before it is taken for one of unknown rounds."""


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
            self.ev.exceptions.may_raise(place, "TypeError")
            why = (
                iterable
                if isinstance(iterable, Unknown)
                else Unknown("an unknown number of rounds", place)
            )
            some = partial(self._unknown_rounds, node, iterable, why, env)
            return self._with_else(node, env, some)
        return self._with_else(node, env, partial(self._rounds, node, iterable, rounds, env))

    def _unknown_rounds(self, node: ast.For, iterable: Any, why: Unknown, env: Env) -> Status:
        """Rounds of which not even the number is known."""
        item: Any = Unknown(f"an item of something unknown: {why.reason}", env.module.place(node))
        if isinstance(iterable, (list, set)):
            item = one_of(iterable, item)
        return self.ev.writes.repeat(partial(self._round, node, item, env), env, why)

    def _with_else(
        self, node: ast.For | ast.While, env: Env, rounds: Callable[[], Status]
    ) -> Status:
        """The rounds of a loop, and its `else`, which is left out where a break ends the loop."""
        block = self.ev.statements.block
        if "break" not in exits_of(node.body):
            status = rounds()
            return status if status is not None else block(node.orelse, env)

        def whole() -> Status:
            status = rounds()
            if status is not None:
                return status
            self.ev.writes.take_no_more()  # a break in here is one of the loop around
            return block(node.orelse, env)

        return self.ev.writes.within("break", env, whole)

    def _rounds(self, node: ast.For, iterable: Any, rounds: Iterator[Any], env: Env) -> Status:
        while True:
            self.ev.budget.step()
            try:
                item = next(rounds)
            except StopIteration:
                return None
            except Undecided as undecided:
                return self._unknown_rounds(node, iterable, undecided.reason, env)
            status = self._round(node, item, env)
            if status is not None:
                return status

    def _round(self, node: ast.For, item: Any, env: Env) -> Status:
        self.ev.assignments.assign(node.target, item, env)
        return self._body(node, env)

    def _body(self, node: ast.For | ast.While, env: Env) -> Status:
        """One round; None where another one comes behind it."""
        if "continue" not in exits_of(node.body):
            return self.ev.statements.block(node.body, env)
        return self.ev.writes.within(
            "continue", env, partial(self.ev.statements.block, node.body, env)
        )

    def while_(self, node: ast.While, env: Env) -> Status:
        return self._with_else(node, env, partial(self._while_rounds, node, env))

    def _while_rounds(self, node: ast.While, env: Env) -> Status:
        undecided = 0
        while True:
            self.ev.budget.step()
            truth = self.ev.operators.truth(self.ev.expressions.condition(node.test, env))
            left = self.ev.writes.ways_that_left
            if truth is None or undecided >= MAX_UNDECIDED_ROUNDS:
                return self._unknown_while(node, env, truth)
            if not truth:
                return None
            status = self._body(node, env)
            if status is not None:
                return status
            undecided += self.ev.writes.ways_that_left > left

    def _unknown_while(self, node: ast.While, env: Env, first: bool | None) -> Status:
        """A loop from a round on of which it is not known whether it is the last one."""
        asked = first is None
        why = Unknown("an unknown number of rounds", env.module.place(node))

        def once_more() -> Status:
            nonlocal asked
            if not asked:
                truth = self.ev.operators.truth(self.ev.expressions.condition(node.test, env))
                if truth is False:
                    return None
            asked = False
            return self._body(node, env)

        return self.ev.writes.repeat(once_more, env, why)
