"""Exceptions that the source raises and catches."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from sys import getrefcount
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.exception_groups import ExceptionGroups
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.mode import guarded
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.pure import names_of_handler
from fibcore.elaborate.python.values import Args, Class, Env, Ext, Func, Obj, Raised
from fibcore.elaborate.python.values.classes import is_of_source
from fibcore.elaborate.python.values.exceptions import (
    EXCEPTIONS,
    ExceptionObject,
    SomeException,
    Traceback,
    exception_bases,
    exception_of,
    is_subclass,
)
from fibcore.elaborate.python.values.generators import doubt_end
from fibcore.elaborate.python.values.iterators import Iterator as Iterated
from fibcore.model.tree import Alternatives, SourcePlace, Unknown
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_HOLDERS = 3
"""References to an exception that only its handler has: of what was raised, and of the call."""
_CATCH_ALL = ("Exception", "BaseException")


class Exceptions(Part):
    """Raises and catches.

    Attributes:
        handled: The exceptions that are being handled, innermost last: what `raise` alone raises
            again, and the context of another one.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.handled: list[Raised] = []
        self.groups = ExceptionGroups(evaluator)

    def handlers(self) -> Handlers:
        found: dict[type[ast.AST], Any] = {
            ast.Raise: self.raise_,
            ast.Assert: self.assert_,
            ast.Try: self.try_,
        }
        if hasattr(ast, "TryStar"):  # Python 3.11
            found[ast.TryStar] = self.try_star
        return found

    # -- raising -------------------------------------------------------------------------------

    def raise_(self, node: ast.Raise, env: Env) -> Status:
        place = env.module.place(node)
        if node.exc is None:
            if self.handled:
                raise self.handled[-1]
            raise Raised("RuntimeError", "no active exception to raise again", place)
        value = self._instance(self.ev.expressions.eval(node.exc, env), place)
        if not isinstance(value, ExceptionObject):
            self._refuse(value, place)
            raise self._unknown(value, node.exc, env)
        if node.cause is not None:
            self._set_cause(value, self.ev.expressions.eval(node.cause, env), place)
        if self.handled:
            self._set_context(value, self.handled[-1])
        if value.raised is None:
            message = _message(node.exc, value)
            value.raised = Raised(value.class_name, message, place, explicit=True, value=value)
        raise value.raised.again()

    @staticmethod
    def _raised(value: ExceptionObject, place: SourcePlace) -> Raised:
        """An exception object as it is raised."""
        if value.raised is not None:
            return value.raised.again()
        return Raised(value.class_name, "", place, explicit=True, value=value)

    def _instance(self, value: Any, place: SourcePlace) -> Any:
        """The exception that a raise statement raises: an instance, or one of a class."""
        if isinstance(value, (Class, Ext)) and exception_bases(value):
            return self.ev.calls.call(value, [], {}, place)
        return value

    def _refuse(self, value: Any, place: SourcePlace) -> None:
        cls = value.cls if type(value) is Obj else value
        known = isinstance(cls, Class) and is_of_source(cls)
        if known or isinstance(value, (*plain.PLAIN, Func, Iterated)):
            message = "exceptions must derive from BaseException"
            raise Raised("TypeError", message, place)

    def _unknown(self, value: Any, node: ast.expr, env: Env) -> Raised:
        """An exception of which no more is known than how it is written."""
        if isinstance(value, Unknown) and not isinstance(node, ast.Call):
            # Not even that: if it is none, another one is raised in its place.
            some = SomeException(Ext("BaseException"), env.module.place(node))
            return Raised("BaseException", ast.unparse(node), some.place, explicit=True, value=some)
        named = node.func if isinstance(node, ast.Call) else node
        arguments = node.args if isinstance(node, ast.Call) else []
        message = _template(arguments[0]) if arguments else ""
        kind = ast.unparse(named).rpartition(".")[2]
        place = env.module.place(node)
        value = ExceptionObject(Ext(ast.unparse(named)), Unknown("its arguments", place), place)
        return Raised(kind, message, place, explicit=True, value=value)

    def _set_cause(self, value: ExceptionObject, cause: Any, place: SourcePlace) -> None:
        cause = self._instance(cause, place)
        if cause is not None and isinstance(cause, plain.PLAIN):
            message = "exception causes must derive from BaseException"
            raise Raised("TypeError", message, place)
        value.set_attr(self.ev, "__cause__", cause, place)
        value.set_attr(self.ev, "__suppress_context__", True, place)

    def _set_context(self, value: ExceptionObject, handled: Raised) -> None:
        context = exception_of(handled)
        if context is not value and value.state["__context__"] is None:
            self.ev.writes.put(value.state, "__context__", context)

    @contextlib.contextmanager
    def handling(self, error: Raised) -> Iterator[None]:
        """While an exception is handled; one that is raised meanwhile has it for its context."""
        self.handled.append(error)
        try:
            yield
        except Raised as other:
            self.handled.pop()
            if other is not error:
                self._set_context(exception_of(other), error)
                other.scopes += error.scopes
            raise
        except GeneratorExit:
            raise  # the frame of a generator that nobody has any more
        except BaseException:
            self.handled.pop()
            raise
        self.handled.pop()

    def exit_arguments(self, error: Raised | None, place: SourcePlace) -> Args:
        """What `__exit__` is called with."""
        if error is None:
            return [None, None, None]
        value = exception_of(error)
        return [value.type_of(place), value, Traceback()]

    # An assertion that cannot be decided holds where nothing handles that it does not: the source
    # as it is published runs.
    def assert_(self, node: ast.Assert, env: Env) -> Status:
        truth = self.ev.operators.truth(self.ev.expressions.condition(node.test, env))
        if truth is None:
            self.may_raise(env.module.place(node), "AssertionError")
            # What comes behind it runs where it holds.
            self.ev.branches.narrow(node.test, env, positive=True)
        if truth is False:
            given = () if node.msg is None else (self.ev.expressions.eval(node.msg, env),)
            shown = self._explained(node.test, env)
            raise Raised("AssertionError", shown, env.module.place(node), given=given)
        return None

    def _explained(self, test: ast.expr, env: Env) -> str:
        """A failed assertion with the numbers that are in it."""
        shown = []
        for part in walk(test):
            if isinstance(part, (ast.Name, ast.Attribute)) and isinstance(part.ctx, ast.Load):
                try:
                    value = self.ev.expressions.eval(part, env)
                except Raised:
                    continue
                if isinstance(value, (int, float, str)):
                    shown.append(f"{ast.unparse(part)} = {value}")
        text = ast.unparse(test)
        return f"{text} does not hold" + (f" ({', '.join(dict.fromkeys(shown))})" if shown else "")

    def may_raise(self, place: SourcePlace, *kinds: str) -> None:
        """Note that an operation on something unknown may raise, where a handler is around."""
        if self.ev.mode.caught:
            why = "an operation on something unknown"
            self._may_raise([Raised(kind, why, place) for kind in kinds], place)
        else:
            self.ev.writes.passed_over.update(kinds)

    def may_raise_anything(self, place: SourcePlace) -> None:
        """Note that a call of something unknown may raise what handlers around catch."""
        caught = self.ev.mode.caught
        self.ev.writes.passed_over.add("Exception")
        if caught:
            why = "a call of something unknown"
            kinds = caught - {"BaseException"} or {"Exception"}
            some = [
                Raised(kind, why, place, value=SomeException(Ext(kind), place)) for kind in kinds
            ]
            self._may_raise(some, place)

    def _may_raise(self, errors: list[Raised], place: SourcePlace) -> None:
        caught = self.ev.mode.caught
        if self.ev.mode.forward:
            return
        sides: list[Callable[[], Status]] = [
            partial(_raise, error)
            for error in errors
            if not caught.isdisjoint((error.kind, *exception_bases(Ext(error.kind)), *_CATCH_ALL))
        ]
        if len(sides) < len(errors):
            self.ev.writes.passed_over.update(error.kind for error in errors)
        if sides:
            why = Unknown("whether an operation on something unknown raised", place)
            self.ev.writes.choose([*sides, lambda: None], why)

    # -- catching ------------------------------------------------------------------------------

    def try_(self, node: ast.Try, env: Env) -> Status:
        block = self.ev.statements.block
        return self.finally_(node, env, lambda: self._guarded(node, env, self._handle), block)

    def finally_(
        self,
        node: Any,
        env: Env,
        body: Callable[[], Status],
        block: Callable[[list[ast.stmt], Env], Status],
    ) -> Status:
        """Run a body, and the `finally` of its statement whatever it comes to."""
        if not node.finalbody:
            return body()

        def finish(status: Status, error: Raised | None) -> Status:
            if error is None:
                final = block(node.finalbody, env)
                return final if final is not None else status
            error.catch()
            with self.handling(error):
                final = block(node.finalbody, env)
            if final is not None:
                return final
            raise error

        why = Unknown("how a statement with `finally` was left", env.module.place(node))
        return self.ev.writes.finishing(body, finish, env, why)

    def _guarded(self, node: Any, env: Env, handle: Callable[[Any, Raised, Env], Status]) -> Status:
        """A body with its handlers; what its `else` raises is none of theirs."""
        names = frozenset(name for handler in node.handlers for name in names_of_handler(handler))
        if not isinstance(node, ast.Try):  # of a group, whatever handlers of its parts are there
            names |= {"BaseExceptionGroup"}
        mode = guarded(self.ev.mode, names)
        block = self.ev.statements.block

        def body() -> Status:
            with self.ev.within(mode):
                return block(node.body, env)

        def handled(error: Raised) -> Status:
            return handle(node, error, env)

        if not node.handlers:
            return body()
        why = Unknown("whether an exception was raised", env.module.place(node))
        return self.ev.writes.trying(body, handled, lambda: block(node.orelse, env), env, why)

    def unless(self, kind: str, run: Callable[[], Any], otherwise: Any, place: SourcePlace) -> Any:
        """What a function of Python's own comes to that handles an exception of its argument."""

        def body() -> Status:
            with self.ev.within(guarded(self.ev.mode, frozenset((kind,)))):
                return ("return", run())

        def handle(error: Raised) -> Status:
            if kind not in (error.kind, *exception_bases(exception_of(error).cls)):
                raise error
            return ("return", otherwise)

        why = Unknown(f"whether {kind} was raised", place)
        status = self.ev.writes.trying(body, handle, lambda: None, None, why)
        return None if status is None else status[1]

    def _handle(self, node: ast.Try, error: Raised, env: Env) -> Status:
        """Run the handler of an exception, or all that may be it."""
        self.caught(error)
        sides, certain = self.fitting(node.handlers, error, env)
        runs: list[Callable[[], Status]] = [
            partial(self.run_handler, handler, error, env) for handler in sides
        ]
        if not runs:
            raise error
        if certain and len(runs) == 1:
            return runs[0]()
        if not certain:
            runs.append(partial(_raise, error))
        why = Unknown("whether an exception of an unknown class is caught", error.place)
        return self.ev.writes.either(runs, env, why)

    def caught(self, error: Raised) -> None:
        """Prepare an exception for its handlers: its context is what is handled already."""
        error.catch()
        if self.handled and self.handled[-1] is not error:
            self._set_context(exception_of(error), self.handled[-1])

    def fitting(
        self, handlers: list[ast.ExceptHandler], error: Raised, env: Env
    ) -> tuple[list[ast.ExceptHandler], bool]:
        """The handlers that may be an exception's, and whether one of them certainly is."""
        sides: list[ast.ExceptHandler] = []
        for handler in handlers:
            with self.handling(error):
                caught = self._catches(handler, error, env)
            if caught is not False:
                sides.append(handler)
            if caught:
                return sides, True
        return sides, False

    def run_handler(self, handler: ast.ExceptHandler, error: Raised, env: Env) -> Status:
        """Run the body of a handler, whose variable is there meanwhile alone."""
        self.ev.forward.note_abandoned()
        with self.bound(handler, exception_of(error), env), self.handling(error):
            status = self.ev.statements.block(handler.body, env)
        if error.scopes and handler.name and getrefcount(error.value) > _HOLDERS:
            self._doubt_ends(error)
        elif self.ev.generators.made:
            for scope in error.scopes:
                if isinstance(scope, Env) and scope.func is not None:
                    self.ev.generators.leave(scope.func.node, scope)
        error.release()
        return status

    def _doubt_ends(self, error: Raised) -> None:
        """Note that variables of functions live as long as whoever has the exception keeps it."""
        why = Unknown("when an exception is dropped that somebody kept", error.place)
        for scope in error.scopes:
            for value in list(scope.vars.values()) if isinstance(scope, Env) else scope:
                doubt_end(value, why)

    @contextlib.contextmanager
    def bound(self, handler: ast.ExceptHandler, value: Any, env: Env) -> Iterator[None]:
        """Bind the variable of a handler inside."""
        if not handler.name:
            yield
            return
        self.ev.names.bind(env, handler.name, value)
        try:
            yield
        except Raised:
            self.ev.names.unbind(env, handler.name)
            raise
        self.ev.names.unbind(env, handler.name)

    def _catches(self, handler: ast.ExceptHandler, error: Raised, env: Env) -> bool | None:
        if handler.type is None:
            return True
        kinds = self.ev.expressions.eval(handler.type, env)
        return self.catches(kinds, error, handler.type, env.module.place(handler))

    def catches(
        self, kinds: Any, error: Raised, node: ast.expr | None, place: SourcePlace
    ) -> bool | None:
        """Whether `except kinds` catches an exception; None where that is not known.

        Args:
            kinds: A class or a tuple of those.
            error: The exception.
            node: How the class is written, for one that is not known.
            place: Where the handler stands.
        """
        if isinstance(kinds, tuple) and not any(isinstance(kind, tuple) for kind in kinds):
            nodes = node.elts if isinstance(node, ast.Tuple) else [None] * len(kinds)
            answers = [
                self.catches(kind, error, each, place)
                for kind, each in zip(kinds, nodes, strict=False)
            ]
            return True if True in answers else None if None in answers else False
        if isinstance(kinds, (Class, Ext)):
            if isinstance(kinds, Ext) and kinds.name not in EXCEPTIONS:
                # A class of another package: none of Python's own exceptions is of it, but for
                # aliases, which have the same name.
                bases = exception_bases(exception_of(error).cls)
                if kinds.short in (error.kind, *bases):
                    return True
            raised = exception_of(error)
            found = is_subclass(raised.cls, kinds)
            return found if raised.exact or found else None
        if isinstance(kinds, plain.PLAIN):
            raise Raised("TypeError", "a handler of something that is no exception", place)
        if isinstance(kinds, (Unknown, Alternatives)) and node is not None:
            name = ast.unparse(node).rpartition(".")[2]
            return True if name == error.kind else None
        return None

    # -- groups --------------------------------------------------------------------------------

    def try_star(self, node: Any, env: Env) -> Status:
        """`try` with `except*`."""
        block = self.ev.statements.block
        return self.finally_(node, env, lambda: self._guarded(node, env, self._handle_group), block)

    def _handle_group(self, node: Any, error: Raised, env: Env) -> Status:
        self.caught(error)
        rest: Any = exception_of(error)
        raised: list[Any] = []
        place = env.module.place(node)
        for handler in node.handlers:
            if rest is None:
                break
            kinds = self.ev.expressions.eval(handler.type, env)
            part, rest = self.groups.split(rest, kinds, handler.type, place)
            if part is None:
                continue
            if not exception_bases(part.cls).count("BaseExceptionGroup"):
                part = self.groups.wrapped("", [part], place)
            inner = Raised(part.class_name, "", place, explicit=True, value=part)
            try:
                with self.bound(handler, part, env), self.handling(inner):
                    self.ev.statements.block(handler.body, env)
            except Raised as other:
                raised.append(exception_of(other))
        if not raised and rest is None:
            return None
        if not raised:
            raise (rest.raised and rest.raised.again()) or Raised(
                rest.class_name, "", place, explicit=True, value=rest
            )
        if rest is not None or len(raised) > 1:
            raised = [self.groups.wrapped("", [*raised, *([] if rest is None else [rest])], place)]
        elif not exception_bases(raised[0].cls).count("BaseExceptionGroup"):
            raised = [self.groups.wrapped("", raised, place)]
        raise Raised(raised[0].class_name, "", place, explicit=True, value=raised[0])


def kinds_of(error: Raised) -> frozenset[str]:
    """The names of the classes that an exception is of: those by which a handler may catch it."""
    cls = exception_of(error).cls
    own = [c.name.rpartition(".")[2] for c in cls.mro] if isinstance(cls, Class) else [error.kind]
    return frozenset((*own, *exception_bases(cls), *_CATCH_ALL))


def _raise(error: Raised) -> Status:
    raise error


def _message(node: ast.expr, value: ExceptionObject) -> str:
    """What reports say of an exception: its first argument, else how that is written."""
    given = value.state["args"]
    if isinstance(given, tuple) and given and isinstance(given[0], str):
        return given[0]
    if isinstance(node, ast.Call) and node.args:
        return _template(node.args[0])
    return ""


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
