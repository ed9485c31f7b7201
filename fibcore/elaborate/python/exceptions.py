"""Exceptions that the source raises and catches."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.mode import guarded
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import Class, Env, Raised, Value
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_CATCH_ALL = {"Exception", "BaseException"}
_PARENTS = {
    "ModuleNotFoundError": {"ImportError"},
    "KeyError": {"LookupError"},
    "IndexError": {"LookupError"},
    "ZeroDivisionError": {"ArithmeticError"},
    "OverflowError": {"ArithmeticError"},
    "NotImplementedError": {"RuntimeError"},
    "UnicodeDecodeError": {"ValueError"},
    "FileNotFoundError": {"OSError"},
}


class Exceptions(Part):
    """Raises and catches."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        # The exceptions whose handlers are running, with the names that they are bound to: a
        # `raise` without any, or with that name, raises the same one again.
        self._handling: list[tuple[str | None, Raised]] = []

    def handlers(self) -> Handlers:
        return {
            ast.Raise: self.raise_,
            ast.Assert: self.assert_,
            ast.Try: self.try_,
            ast.With: self.with_,
        }

    def raise_(self, node: ast.Raise, env: Env) -> Status:
        kind, message = "Exception", ""
        parents: tuple[str, ...] = ()
        for name, caught in reversed(self._handling):
            if node.exc is None or (isinstance(node.exc, ast.Name) and node.exc.id == name):
                raise caught
        if node.exc is not None:
            call = node.exc if isinstance(node.exc, ast.Call) else None
            named = call.func if call is not None else node.exc
            kind = ast.unparse(named).rpartition(".")[2]
            cls = self.ev.expressions.eval(named, env)
            if isinstance(cls, Class):
                parents = tuple(c.name.rpartition(".")[2] for c in cls.mro)
            if call is not None and call.args:
                try:
                    text = self.ev.expressions.eval(call.args[0], env)
                except Raised:
                    text = None
                message = text if isinstance(text, str) else _template(call.args[0])
        place = env.module.place(node)
        raise Raised(kind, str(message), place, explicit=True, parents=parents)

    # An assertion that cannot be decided holds: the source as it is published runs.
    def assert_(self, node: ast.Assert, env: Env) -> Status:
        if self.ev.operators.truth(self.ev.expressions.condition(node.test, env)) is False:
            raise Raised("AssertionError", self._explained(node.test, env), env.module.place(node))
        return None

    def _explained(self, test: ast.expr, env: Env) -> str:
        """A failed assertion with the numbers that are in it."""
        shown = []
        for part in ast.walk(test):
            if isinstance(part, (ast.Name, ast.Attribute)) and isinstance(part.ctx, ast.Load):
                try:
                    value = self.ev.expressions.eval(part, env)
                except Raised:
                    continue
                if isinstance(value, (int, float, str)):
                    shown.append(f"{ast.unparse(part)} = {value}")
        text = ast.unparse(test)
        return f"{text} does not hold" + (f" ({', '.join(dict.fromkeys(shown))})" if shown else "")

    def try_(self, node: ast.Try, env: Env) -> Status:
        # A limit: what one side of an undecided branch raises never comes here, because that side
        # is not taken, so that a handler for it is not run.
        status: Status = None
        names = frozenset(name for h in node.handlers for name in _caught(h))
        try:
            with self.ev.within(guarded(self.ev.mode, names)):
                status = self.ev.statements.block(node.body, env)
            if status is None:
                status = self.ev.statements.block(node.orelse, env)
        except Raised as error:
            kinds = kinds_of(error)
            handler = next((h for h in node.handlers if not kinds.isdisjoint(_caught(h))), None)
            if handler is None:
                self.ev.statements.block(node.finalbody, env)
                raise
            self.ev.forward.note_abandoned()
            if handler.name:
                caught = Unknown(f"{error.kind}: {error.message}", error.place)
                self.ev.names.bind(env, handler.name, caught)
            self._handling.append((handler.name, error))
            try:
                status = self.ev.statements.block(handler.body, env)
            finally:
                self._handling.pop()
        final = self.ev.statements.block(node.finalbody, env)
        return final if final is not None else status

    def with_(self, node: ast.With, env: Env) -> Status:
        kinds = frozenset(name for item in node.items for name in _suppressed(item.context_expr))
        if not kinds:
            return self._within(node, env)
        try:
            with self.ev.within(guarded(self.ev.mode, kinds)):
                return self._within(node, env)
        except Raised as error:
            if kinds.isdisjoint(kinds_of(error)):
                raise
            self.ev.forward.note_abandoned()
            return None

    def _within(self, node: ast.With, env: Env) -> Status:
        for item in node.items:
            value = self.ev.expressions.eval(item.context_expr, env)
            if item.optional_vars is not None:
                if isinstance(value, Value):
                    entered = value.enter(self.ev, env.module.place(node))
                elif isinstance(value, list) and len(value) == 1:
                    entered = value[0]  # a generator that a contextmanager decorator wraps
                else:
                    entered = Unknown("what a with statement enters", env.module.place(node))
                self.ev.assignments.assign(item.optional_vars, entered, env)
        return self.ev.statements.block(node.body, env)


def _template(node: ast.expr) -> str:
    """A message whose parts are not all known, with the source of those in braces."""
    if not isinstance(node, ast.JoinedStr):
        return ast.unparse(node)
    return "".join(
        str(part.value)
        if isinstance(part, ast.Constant)
        else "{" + ast.unparse(part.value) + "}"
        if isinstance(part, ast.FormattedValue)
        else ast.unparse(part)
        for part in node.values
    )


def kinds_of(error: Raised) -> frozenset[str]:
    """The names of the classes that an exception is of: those by which a handler may catch it."""
    kinds = {error.kind, *error.parents}
    return frozenset(kinds.union(_CATCH_ALL, *(_PARENTS.get(kind, ()) for kind in kinds)))


def _caught(handler: ast.ExceptHandler) -> Iterator[str]:
    """The names of the exceptions that a handler catches."""
    if handler.type is None:
        yield "BaseException"
        return
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    for kind in types:
        yield ast.unparse(kind).rpartition(".")[2]


def _suppressed(node: ast.expr) -> set[str]:
    """The exceptions that `contextlib.suppress(...)` names; none for any other expression."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "suppress":
        return {ast.unparse(a).rpartition(".")[2] for a in node.args}
    return set()
