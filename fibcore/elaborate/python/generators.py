"""The frames of generators: statements that a yield may leave and come back to.

A statement without a yield is executed as everywhere else. Those around a yield are followed here,
as generators of this interpreter: a frame stands still where its own yield does.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from collections.abc import Generator as Frame
from collections.abc import Iterator as Iterator_
from functools import partial
from sys import getrefcount
from typing import Any

from fibcore.elaborate.python.branches import leaves_block
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.mode import guarded
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.pure import names_of_handler
from fibcore.elaborate.python.reach import reached_by
from fibcore.elaborate.python.values import ABSENT, Env, Func, Raised
from fibcore.elaborate.python.values.exceptions import exception_of
from fibcore.elaborate.python.values.functions import yields
from fibcore.elaborate.python.values.generators import Generator, generators_in
from fibcore.elaborate.python.values.iterators import Iterator, Undecided
from fibcore.model.tree import SourcePlace, Unknown
from fibcore.syntax import children, walk

_STAR = (ast.TryStar,) if hasattr(ast, "TryStar") else ()  # Python 3.11
_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp,
    ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
Steps = Frame[Any, Any, Status]
"""What runs a statement: gives what it yields, is sent what `yield` comes to, ends as it ends."""


def _of_inner_scopes(node: ast.AST) -> frozenset[str]:
    """The names that functions, classes and comprehensions inside of a function use."""
    known: frozenset[str] | None = getattr(node, "inner_names", None)
    if known is None:
        inner = [part for part in walk(node) if part is not node and isinstance(part, _SCOPES)]
        parts = (n for scope in inner for own in _own_parts(scope) for n in walk(own))
        names = {n.id for n in parts if isinstance(n, ast.Name)}
        known = node.inner_names = frozenset(names)  # type: ignore[attr-defined]
    return known


def _own_parts(scope: ast.AST) -> list[ast.AST]:
    """What is evaluated in a scope: of a comprehension, the first iterable is not."""
    clauses = getattr(scope, "generators", None)
    if not clauses:
        return [scope]
    own = [part for part in children(scope) if part is not clauses[0]]
    return [*own, clauses[0].target, *clauses[0].ifs]


def _is_quiet(node: ast.AST) -> bool:
    """Whether a generator function does nothing where it is closed; remembered on its syntax."""
    known: bool | None = getattr(node, "closes_quietly", None)
    if known is None:
        known = not any(
            isinstance(part, ast.YieldFrom)
            or (isinstance(part, (ast.Try, *_STAR, ast.With)) and yields(part))
            for part in walk(node)
        )
        node.closes_quietly = known  # type: ignore[attr-defined]
    return known


_HOLDERS = 4
"""References to a generator that nothing but a variable holds: the variable's own, and of here."""


class Generators(Part):
    """Makes generators, and runs their frames.

    Attributes:
        made: Whether there have been any.
    """

    made = False

    def leave(self, node: ast.AST, env: Env) -> None:
        """Drop the generators that variables of a function hold, which has come to its end.

        Functions inside of it hold its scope, and that holds them.
        """
        held = {name: generators_in(value) for name, value in env.vars.items()}
        if not any(held.values()):
            return
        inner = _of_inner_scopes(node)
        why = Unknown("when a generator is dropped that an inner function may use", None)
        for name, generators in held.items():
            if name not in inner and generators:
                del env.vars[name]
            for generator in generators if name in inner else ():
                dropped = getrefcount(generator) <= _HOLDERS or env.vars[name] is not generator
                if dropped and generator.stands and not generator.quiet:
                    generator.take_any(self.ev, why)

    def generator(self, func: Func, env: Env, place: SourcePlace) -> Generator:
        """What a call of a generator function gives."""
        self.made = True
        reached = partial(reached_by, func, env)
        quiet = _is_quiet(func.node)
        return Generator(self.ev, self._frame(func, env), reached, place, quiet=quiet)

    def _frame(self, func: Func, env: Env) -> Frame[Any, Any, Any]:
        assert not isinstance(func.node, ast.Lambda)
        try:
            status = yield from self._block(func.node.body, env)
        except Raised as error:
            error.scopes.append(env)
            raise
        if env.maybe:
            raise Undecided(
                Unknown("a generator that may have returned", env.module.place(func.node))
            )
        self.leave(func.node, env)
        return status[1] if status is not None and status[0] == "return" else None

    def _block(self, body: list[ast.stmt], env: Env) -> Steps:
        for node in body:
            status = yield from self._statement(node, env)
            if status is not None:
                return status
            if env.maybe:
                raise Undecided(
                    Unknown("a generator that may have returned", env.module.place(node))
                )
        return None

    def _statement(self, node: ast.stmt, env: Env) -> Steps:
        if not yields(node):
            if isinstance(node, ast.If) and leaves_block(node):
                return (yield from self._if(node, env))
            return self._guarded(env, lambda: self.ev.statements.execute(node, env), node)
        self.ev.budget.step()
        if isinstance(node, ast.Expr):
            yield from self._value(node.value, env)
        elif isinstance(node, ast.Return) and node.value is not None:
            return ("return", (yield from self._value(node.value, env)))
        elif isinstance(node, ast.Assign):
            value = yield from self._value(node.value, env)
            for target in node.targets:
                self._plain(target, env)
                self.ev.assignments.assign(target, value, env)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self._plain(node.target, env)
            self.ev.assignments.assign(node.target, (yield from self._value(node.value, env)), env)
        elif isinstance(node, ast.If):
            return (yield from self._if(node, env))
        elif isinstance(node, ast.For):
            return (yield from self._for(node, env))
        elif isinstance(node, ast.While):
            return (yield from self._while(node, env))
        elif isinstance(node, ast.Try):
            return (yield from self._try(node, env))
        elif isinstance(node, ast.With):
            return (yield from self._with(node.items, node, env))
        elif isinstance(node, ast.Match):
            return (yield from self._match(node, env))
        else:
            raise Undecided(self._inside(node, env))
        return None

    # -- expressions ---------------------------------------------------------------------------

    def _inside(self, node: ast.AST, env: Env) -> Unknown:
        return Unknown("a yield inside of another expression", env.module.place(node))

    def _plain(self, node: ast.expr, env: Env) -> None:
        """Make sure that nothing is yielded inside of an expression."""
        if yields(node):
            raise Undecided(self._inside(node, env))

    def _value(self, node: ast.expr, env: Env) -> Frame[Any, Any, Any]:
        """The value of an expression, which is a yield or holds none."""
        if isinstance(node, ast.Yield):
            if node.value is None:
                return (yield None)
            return (yield (yield from self._value(node.value, env)))
        if isinstance(node, ast.YieldFrom):
            return (yield from self._delegate((yield from self._value(node.value, env)), node, env))
        if isinstance(node, ast.NamedExpr) and yields(node):
            value = yield from self._value(node.value, env)
            self.ev.names.bind(env, node.target.id, value)
            return value
        self._plain(node, env)
        if not env.guards:
            return self.ev.expressions.eval(node, env)
        found = self._guarded(env, lambda: ("value", self.ev.expressions.eval(node, env)), node)
        return None if found is None else found[1]

    def _guarded(self, env: Env, run: Callable[[], Status], node: ast.AST) -> Status:
        """Run what holds no yield, inside of handlers of the frame."""
        if not env.guards:
            return run()
        left = self.ev.writes.ways_that_left
        why = Unknown("whether a generator raised", env.module.place(node))

        def body() -> Status:
            with self.ev.within(guarded(self.ev.mode, env.guards)):
                return run()

        def handle(error: Raised) -> Status:
            if self.ev.writes.ways_that_left > left:
                raise Undecided(why)
            raise error

        return self.ev.writes.trying(body, handle, lambda: None, env, why)

    @contextlib.contextmanager
    def _inside_of(self, names: frozenset[str], env: Env) -> Iterator_[None]:
        """While the frame stands where it handles exceptions."""
        outer, env.guards = env.guards, env.guards | names
        try:
            yield
        finally:
            env.guards = outer

    def _delegate(self, value: Any, node: ast.YieldFrom, env: Env) -> Frame[Any, Any, Any]:
        place = env.module.place(node)
        inner = self.ev.iteration.iterator(value, place)
        if not isinstance(inner, Iterator):
            raise Undecided(inner)
        item = inner.take(self.ev)
        while item is not ABSENT:
            try:
                sent = yield item
            except Raised as error:
                item = self._thrown(inner, error)
                continue
            if sent is None:
                item = inner.take(self.ev)
            elif isinstance(inner, Generator):
                item = inner.send(self.ev, sent)
            else:
                message = f"{inner.kind_name!r} object has no attribute 'send'"
                raise Raised("AttributeError", message, place)
        result = inner.returned()
        return result[0] if result else None

    def _thrown(self, inner: Iterator, error: Raised) -> Any:
        if not isinstance(inner, Generator):
            raise error
        if error.kind == "GeneratorExit":
            inner.close(self.ev)
            raise error
        return inner.throw(self.ev, error)

    # -- statements ----------------------------------------------------------------------------

    def _if(self, node: ast.If, env: Env) -> Steps:
        self._plain(node.test, env)
        truth, why = self.ev.branches.decide(node, env)
        if truth is None:
            raise Undecided(why)
        return (yield from self._block(node.body if truth else node.orelse, env))

    def _for(self, node: ast.For, env: Env) -> Steps:
        place = env.module.place(node)
        iterable = yield from self._value(node.iter, env)
        rounds = self.ev.iteration.rounds(iterable, place)
        if rounds is None:
            why = iterable if isinstance(iterable, Unknown) else Unknown("unknown rounds", place)
            raise Undecided(why)
        for item in rounds:
            self.ev.assignments.assign(node.target, item, env)
            status = yield from self._block(node.body, env)
            if status is None or status[0] == "continue":
                continue
            return None if status[0] == "break" else status
        return (yield from self._block(node.orelse, env))

    def _while(self, node: ast.While, env: Env) -> Steps:
        self._plain(node.test, env)
        while True:
            self.ev.budget.step()
            truth = self.ev.operators.truth(self.ev.expressions.condition(node.test, env))
            if truth is None:
                raise Undecided(Unknown("an unknown number of rounds", env.module.place(node)))
            if not truth:
                return (yield from self._block(node.orelse, env))
            status = yield from self._block(node.body, env)
            if status is None or status[0] == "continue":
                continue
            return None if status[0] == "break" else status

    def _try(self, node: ast.Try, env: Env) -> Steps:
        exceptions = self.ev.exceptions
        try:
            status = yield from self._handled(node, env)
        except Raised as error:
            with exceptions.handling(error):
                final = yield from self._block(node.finalbody, env)
            if final is not None:
                return final
            raise
        final = yield from self._block(node.finalbody, env)
        return final if final is not None else status

    def _handled(self, node: ast.Try, env: Env) -> Steps:
        exceptions = self.ev.exceptions
        names = frozenset(name for handler in node.handlers for name in names_of_handler(handler))
        try:
            with self._inside_of(names, env):
                status = yield from self._block(node.body, env)
        except Raised as error:
            exceptions.caught(error)
            handlers, certain = exceptions.fitting(node.handlers, error, env)
            if not handlers:
                raise
            if not certain or len(handlers) > 1:
                why = Unknown("whether an exception is caught", env.module.place(node))
                raise Undecided(why) from None
            caught = error
        else:
            return status if status is not None else (yield from self._block(node.orelse, env))
        with (
            exceptions.bound(handlers[0], exception_of(caught), env),
            exceptions.handling(caught),
        ):
            return (yield from self._block(handlers[0].body, env))

    def _with(self, items: list[ast.withitem], node: ast.With, env: Env) -> Steps:
        if not items:
            return (yield from self._block(node.body, env))
        contexts, place = self.ev.contexts, env.module.place(node)
        manager = yield from self._value(items[0].context_expr, env)
        entered = contexts.enter(manager, place)
        try:
            with self._inside_of(contexts.swallowed(manager), env):
                if items[0].optional_vars is not None:
                    self.ev.assignments.assign(items[0].optional_vars, entered, env)
                status = yield from self._with(items[1:], node, env)
        except Raised as error:
            return contexts.left_by(manager, error, env, place)
        contexts.leave(manager, None, place)
        return status

    def _match(self, node: ast.Match, env: Env) -> Steps:
        self._plain(node.subject, env)
        case = self.ev.matching.chosen(node, env)
        if isinstance(case, Unknown):
            raise Undecided(case)
        return None if case is None else (yield from self._block(case.body, env))
