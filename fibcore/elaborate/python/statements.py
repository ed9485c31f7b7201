"""Statements of the source."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.exceptions import kinds_of
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.limits import TooLarge
from fibcore.elaborate.python.local_names import local_names
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import Env, Raised, Unforeseen
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


_UNFORESEEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What code of the evaluator raises on a value that it was not written for."""


class Statements(Part):
    """Executes `ast.stmt` nodes.

    Methods are named after the syntax that they execute, and give how it ended.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._handlers: dict[type, Callable[[Any, Env], Status]] = {}

    def register(self, handlers: Handlers) -> None:
        """Let a part execute kinds of syntax."""
        self._handlers.update(handlers)

    def handlers(self) -> Handlers:
        return {
            ast.Expr: self.expr,
            ast.Pass: self.pass_,
            ast.Return: self.return_,
            ast.Break: self.break_,
            ast.Continue: self.continue_,
            ast.Import: self.import_,
            ast.ImportFrom: self.import_,
            ast.Global: self.global_,
            ast.Nonlocal: self.nonlocal_,
        }

    def execute(self, node: ast.stmt, env: Env) -> Status:
        """Execute one statement."""
        self.ev.budget.step()
        handler = self._handlers.get(type(node))
        if handler is None:
            self.ev.notes.append(
                Unknown(f"{type(node).__name__} is not evaluated", env.module.place(node))
            )
            return None
        try:
            return handler(node, env)
        except Raised as error:
            if not env.tolerant and not self.loses(error):
                raise
            return self._lose(node, error, env)
        except Exhausted as error:
            if error.place is None:
                error.place = env.module.place(node)
            raise
        except RecursionError:
            place = env.module.place(node)
            raise Exhausted("deeper nesting than can be followed", place) from None
        except MemoryError:
            place = env.module.place(node)
            raise Exhausted("more memory than there is", place) from None
        except TooLarge as error:
            raise Exhausted(error.what, env.module.place(node)) from None
        except _UNFORESEEN as error:
            raise Unforeseen(error, env.module.place(node)) from error

    def loses(self, error: Raised) -> bool:
        """Whether an error is of this evaluation alone, so that only its statement is lost."""
        return not error.explicit and self.ev.mode.loses(kinds_of(error))

    def _lose(self, node: ast.stmt, error: Raised, env: Env) -> Status:
        """Go on behind a statement that raised: what it would have assigned is not known.

        What a tensor program computes is not followed here, so neither are its errors. An explicit
        `raise` of a forward pass is the source's own and ends it.
        """
        self.note_lost(error)
        why = f"a statement that raised {error.kind}: {error.message}"
        lost = Unknown(why, error.place or env.module.place(node))
        for target in node.targets if isinstance(node, ast.Assign) else ():
            self.ev.assignments.assign(target, lost, env)
        return ("return", lost) if isinstance(node, ast.Return) else None

    def note_lost(self, error: Raised) -> None:
        """Note that the module that runs has lost a statement: what else it calls is not known."""
        self.ev.notes.append(Unknown(f"{error.kind}: {error.message}", error.place))
        self.ev.forward.lost.update(map(id, self.ev.forward.running[-1:]))

    def block(self, body: list[ast.stmt], env: Env) -> Status:
        """Execute statements until one leaves the block."""
        for node in body:
            status = self.execute(node, env)
            if status is not None:
                return status
        return None

    def expr(self, node: ast.Expr, env: Env) -> Status:
        if not isinstance(node.value, ast.Constant):
            self.ev.expressions.eval(node.value, env)
        return None

    def pass_(self, node: ast.stmt, env: Env) -> Status:
        return None

    def return_(self, node: ast.Return, env: Env) -> Status:
        return ("return", None if node.value is None else self.ev.expressions.eval(node.value, env))

    def break_(self, node: ast.Break, env: Env) -> Status:
        return ("break", None)

    def continue_(self, node: ast.Continue, env: Env) -> Status:
        return ("continue", None)

    def import_(self, node: ast.Import | ast.ImportFrom, env: Env) -> Status:
        self.ev.modules.bind_import(node, env)
        return None

    def global_(self, node: ast.Global, env: Env) -> Status:
        env.globals_ = (env.globals_ or set()) | set(node.names)
        for name in node.names:
            self.ev.modules.name_in(env.module, name, env.module.at)
        return None

    def nonlocal_(self, node: ast.Nonlocal, env: Env) -> Status:
        for name in node.names:
            scope = env.outer
            while scope is not None and not _has(scope, name):
                scope = scope.outer
            if scope is not None:
                env.nonlocals[name] = scope.vars
        return None


def _has(scope: Env, name: str) -> bool:
    """Whether a variable is of this scope, be it bound yet or not."""
    if scope.is_class:
        return False
    func = scope.func
    return name in scope.vars or (
        func is not None and name in local_names(func.node, scope.module.source)
    )
