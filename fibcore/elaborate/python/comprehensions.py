"""Comprehensions, which build the layers of most models."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.late_captures import captures_late
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.pure import Seen, is_pure
from fibcore.elaborate.python.values import ABSENT, Env, Raised, born
from fibcore.elaborate.python.values.generators import doubt_end
from fibcore.elaborate.python.values.iterators import Iterator, Undecided, unsettled
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

REPEATS_FROM = 2
"""A comprehension of at least this many elements looks for layers that repeat."""


class Comprehensions(Part):
    """Evaluates comprehensions and generator expressions."""

    def handlers(self) -> Handlers:
        return {
            ast.ListComp: self.listcomp,
            ast.GeneratorExp: self.generator,
            ast.SetComp: self.listcomp,
            ast.DictComp: self.dictcomp,
        }

    def listcomp(self, node: ast.ListComp | ast.SetComp, env: Env) -> Any:
        result: list[Any] = born([])
        seen = Seen() if isinstance(node, ast.SetComp) and is_pure(node) else None
        done = self._comprehend(node.generators, 0, env, lambda e: node.elt, result, seen=seen)
        if isinstance(done, Unknown):
            return done
        if isinstance(node, ast.SetComp):
            return self.ev.operators.make_set(result, env.module.place(node))
        return result

    def generator(self, node: ast.GeneratorExp, env: Env) -> Any:
        """A generator expression; of it, the first iterable alone is evaluated now."""
        first = self.ev.expressions.eval(node.generators[0].iter, env)
        place = env.module.place(node.generators[0].iter)
        if isinstance(first, Unknown) and self.ev.mode.forward:
            return first
        iterator = self.ev.iteration.iterator(first, place)
        if isinstance(iterator, Unknown):
            if self.ev.mode.forward:
                return Unknown("iteration over something unknown", place)
            iterator = unsettled("iterator", iterator)
        return GeneratorExpression(node, env, first, iterator)

    def all_of(self, node: ast.GeneratorExp, env: Env, first: Any) -> list[Any] | None:
        """All items of a generator expression at once; None where they are not known."""
        result: list[Any] = []
        done = self._comprehend(node.generators, 0, env, lambda e: node.elt, result, first)
        return None if isinstance(done, Unknown) else result

    def dictcomp(self, node: ast.DictComp, env: Env) -> Any:
        pairs: list[Any] = []
        both = ast.Tuple(elts=[node.key, node.value], ctx=ast.Load())
        ast.copy_location(both, node)
        done = self._comprehend(node.generators, 0, env, lambda e: both, pairs)
        if isinstance(done, Unknown):
            return done
        if any(isinstance(k, (Unknown, Alternatives)) for k, _ in pairs):
            return Unknown("a dict with an unknown key", env.module.place(node))
        found: dict[Any, Any] = born({})
        try:
            for key, value in pairs:
                self.ev.budget.step()
                self.ev.layers.pin(key)
                found[key] = value
            return found
        except TypeError as error:
            raise Raised("TypeError", str(error), env.module.place(node)) from None

    def _comprehend(
        self,
        generators: list[ast.comprehension],
        level: int,
        env: Env,
        element: Callable[[Env], ast.expr],
        result: list[Any],
        given: Any = ABSENT,
        shared: Env | None = None,
        seen: Seen | None = None,
    ) -> Unknown | None:
        generator = generators[level]
        if level == 0:
            targets = [clause.target for clause in generators]
            if captures_late(element(env), targets):
                # Functions that a round makes read the variables as the last round leaves them.
                shared = Env(env.module, env)
        iterable = given if given is not ABSENT else self.ev.expressions.eval(generator.iter, env)
        place = env.module.place(generator.iter)
        last = level == len(generators) - 1
        # Layers are made like this: `[Layer(i) for i in range(n)]`. A condition would have to be
        # asked of each index, so that nothing is gained.
        if last and not generator.ifs and shared is None:
            items = self._counts(iterable)
            if items is not None:

                def one(item: Any) -> Any:
                    scope = Env(env.module, env)
                    self.ev.assignments.assign(generator.target, item, scope)
                    return self.ev.expressions.eval(element(scope), scope)

                result.extend(self.ev.layers.repeated(items, one))
                return None
        rounds = self.ev.iteration.rounds(iterable, place)
        if rounds is None:
            self.ev.exceptions.may_raise(place, "TypeError")
            known = isinstance(iterable, Unknown)
            lost = iterable if known else Unknown("iteration over something unknown", place)
            self.any_rounds(generators, level, env, element, lost)
            return lost
        doubt: Unknown | None = None
        try:
            for item in rounds:
                self.ev.budget.step()
                if seen is not None and seen.has(item):
                    continue  # it gives what the set holds already
                inner = Env(env.module, env) if shared is None else shared
                self.ev.assignments.assign(generator.target, item, inner)
                keep = self.keeps(generator, inner)
                if keep is False:
                    continue
                once = partial(self._once, generators, level, inner, element, result, shared)
                if keep is None:
                    doubt = Unknown("a comprehension with an unknown condition", place)
                    self.ev.writes.choose([lambda: None, once], doubt)
                else:
                    doubt = once() or doubt
        except Undecided as undecided:
            self.any_rounds(generators, level, env, element, undecided.reason)
            return undecided.reason
        except Raised:
            # Since Python 3.12 a list comprehension has no frame that would keep it.
            doubt_end(iterable, Unknown("when a comprehension drops a generator", place))
            raise
        return doubt

    def _once(
        self,
        generators: list[ast.comprehension],
        level: int,
        scope: Env,
        element: Callable[[Env], ast.expr],
        result: list[Any],
        shared: Env | None = None,
    ) -> Unknown | None:
        """What comes of one item whose conditions hold."""
        if level == len(generators) - 1:
            result.append(self.ev.expressions.eval(element(scope), scope))
            return None
        return self._comprehend(generators, level + 1, scope, element, result, shared=shared)

    def any_rounds(
        self,
        generators: list[ast.comprehension],
        level: int,
        env: Env,
        element: Callable[[Env], ast.expr],
        why: Unknown,
    ) -> None:
        """Any number of items of which nothing is known: what they change is not known either."""

        def once() -> None:
            scope = Env(env.module, env)
            self.ev.assignments.assign(generators[level].target, why, scope)
            if self.keeps(generators[level], scope) is not False:
                self._once(generators, level, scope, element, [])

        self.ev.writes.repeat(once, env, why)

    def keeps(self, generator: ast.comprehension, env: Env) -> bool | None:
        """Whether the conditions of a comprehension hold; None where that is not known."""
        for condition in generator.ifs:
            keep = self.ev.operators.truth(self.ev.expressions.condition(condition, env))
            if not keep:
                return keep
        return True

    def _counts(self, iterable: Any) -> list[Any] | None:
        """The numbers that layers are made for, where it is those that are iterated over."""
        if not isinstance(iterable, (list, tuple, range)):
            return None
        items = self.ev.iteration.items(iterable)
        if items is None or len(items) < REPEATS_FROM or not _is_count(items):
            return None
        return items


class GeneratorExpression(Iterator):
    """A generator expression; asked for all of its items, it makes them as a list is made.

    `state["running"]` holds the iterators of the clauses that are running.
    """

    __slots__ = ("env", "first", "node", "scope")
    kind = "generator"

    def __init__(self, node: ast.GeneratorExp, env: Env, first: Any, iterator: Iterator) -> None:
        super().__init__()
        self.node = node
        self.env = env
        self.first = first
        self.scope = Env(env.module, env)
        self.state["running"] = (iterator,)

    def rest(self, ev: Evaluator) -> list[Any]:
        if "started" in self.state or "lost" in self.state or "ended" in self.state:
            return super().rest(ev)
        ev.writes.put(self.state, "started", True)
        ev.writes.put(self.state, "ended", True)
        items = ev.comprehensions.all_of(self.node, self.env, self.first)
        if items is None:
            reason = Unknown("a generator expression of something unknown")
            self.lose(ev, reason)
            raise Undecided(reason)
        return items

    def take_any(self, ev: Evaluator, why: Unknown) -> None:
        super().take_any(ev, why)
        running = self.state["running"]
        for iterator in running if isinstance(running, tuple) else ():
            iterator.take_any(ev, why)
        node = self.node
        ev.comprehensions.any_rounds(node.generators, 0, self.env, lambda e: node.elt, why)

    def is_quiet(self) -> bool:
        # Not even where it stands: an expression that is written as an argument has no name.
        return not isinstance(self.first, Iterator) and is_pure(self.node)

    def _next(self, ev: Evaluator) -> Any:
        try:
            return self._following(ev)
        except Raised as error:
            error.scopes.append(self.state["running"])
            raise

    def _following(self, ev: Evaluator) -> Any:
        ev.writes.put(self.state, "started", True)
        generators = self.node.generators
        running = self.state["running"]
        if not isinstance(running, tuple):
            raise Undecided(Unknown("a generator that one side of a branch advanced"))
        while running:
            ev.budget.step()
            item = running[-1].take(ev)
            if item is ABSENT:
                running = running[:-1]
                continue
            clause = generators[len(running) - 1]
            scope = self.scope
            ev.assignments.assign(clause.target, item, scope)
            keep = ev.comprehensions.keeps(clause, scope)
            if keep is None:
                raise Undecided(Unknown("a generator with an unknown condition"))
            if not keep:
                continue
            if len(running) == len(generators):
                ev.writes.put(self.state, "running", running)
                return ev.expressions.eval(self.node.elt, scope)
            following = generators[len(running)].iter
            place = scope.module.place(following)
            inner = ev.iteration.iterator(ev.expressions.eval(following, scope), place)
            if isinstance(inner, Unknown):
                raise Undecided(inner)
            running = (*running, inner)
        ev.writes.put(self.state, "running", running)
        return ABSENT


def _is_count(items: list[Any]) -> bool:
    return all(isinstance(i, int) and not isinstance(i, bool) for i in items)
