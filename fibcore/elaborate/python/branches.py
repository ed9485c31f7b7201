"""Branches, decided and undecided."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fibcore.elaborate.python.definitions import shortened
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import ABSENT, Env, Namespace, Obj, merge
from fibcore.model.tree import Alternatives, Unknown
from fibcore.syntax import children

_DECIDED = Unknown("nothing: the condition is decided")


class Branches(Part):
    """Takes branches."""

    def handlers(self) -> Handlers:
        return {
            ast.If: self.if_,
        }

    def if_(self, node: ast.If, env: Env) -> Status:
        truth, why = self.decide(node, env)
        if truth is not None:
            return self.ev.statements.block(node.body if truth else node.orelse, env)
        return self.both_sides(node, why, env)

    def decide(self, node: ast.If, env: Env) -> tuple[bool | None, Unknown]:
        """Which side of a branch is taken, and why that is not known where it is not."""
        value = self.ev.expressions.condition(node.test, env)
        truth = self.ev.operators.truth(value)
        if truth is not None:
            return truth, _DECIDED
        reason = value.reason if isinstance(value, Unknown) else "an undecided condition"
        return None, Unknown(f"`{shortened(node.test)}`: {reason}", env.module.place(node))

    def both_sides(self, node: ast.If, why: Unknown, env: Env) -> Status:
        """Both sides of an undecided branch."""

        def side(body: list[ast.stmt], positive: bool) -> Callable[[], Status]:
            def run() -> Status:
                self.narrow(node.test, env, positive)
                with self.ev.launches.under(node.test, env, holds=positive):
                    return self.ev.statements.block(body, env)

            return run

        return self.ev.writes.either([side(node.body, True), side(node.orelse, False)], env, why)

    @contextlib.contextmanager
    def narrowed(self, test: ast.expr, env: Env, *, positive: bool) -> Iterator[None]:
        """Inside a branch on `x is None` and the like, `x` keeps only the fitting alternatives."""
        undo = self.narrow(test, env, positive)
        try:
            yield
        finally:
            for container, key, value, narrow in undo:
                # Only what the branch left alone: an assignment of its own has to stay.
                if container.get(key) is narrow:
                    container[key] = value

    def narrow(
        self, test: ast.expr, env: Env, positive: bool
    ) -> list[tuple[dict[Any, Any], Any, Any, Any]]:
        """Narrow what a test says about its names; where each is, what it was and what it is."""
        undo: list[tuple[dict[Any, Any], Any, Any, Any]] = []
        for target, keep_none in _none_tests(test, positive):
            cell = self._cell(target, env)
            if cell is None:
                continue
            container, key = cell
            value = container.get(key)
            if not isinstance(value, Alternatives):
                continue
            kept = [v for v in value.values if v is not ABSENT and _fits(v, keep_none)]
            if kept and len(kept) < len(value.values):
                narrow = merge(kept)
                self.ev.writes.put(container, key, narrow)
                undo.append((container, key, value, narrow))
        return undo

    def _cell(self, target: ast.expr, env: Env) -> tuple[dict[Any, Any], Any] | None:
        if isinstance(target, ast.Name):
            scope: Env | None = env
            while scope is not None:
                if target.id in scope.vars:
                    return scope.vars, target.id
                scope = scope.outer
            return None
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            owner = self.ev.names.lookup(target.value.id, env, target)
            if isinstance(owner, Obj) and target.attr in owner.attrs:
                return owner.attrs, target.attr
            if isinstance(owner, Namespace) and target.attr in owner.values:
                return owner.values, target.attr
        return None


def leaves_block(node: ast.stmt) -> bool:
    """Whether a statement may leave the block that it stands in."""
    return bool(exits(node))


_NO_EXITS: frozenset[str] = frozenset()


def exits(node: ast.AST) -> frozenset[str]:
    """By which statuses a statement may leave its block; remembered on its syntax."""
    known: frozenset[str] | None = getattr(node, "exits", None)
    if known is None:
        known = _exits(node)
        node.exits = known  # type: ignore[attr-defined]
    return known


def _exits(node: ast.AST) -> frozenset[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
        return _NO_EXITS
    if isinstance(node, (ast.Return, ast.Break, ast.Continue)):
        return frozenset((type(node).__name__.lower(),))
    if isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
        inner = exits_of(node.body) - {"break", "continue"}
        return inner | exits_of(node.orelse)
    return exits_of(children(node))


def exits_of(body: Iterable[ast.AST]) -> frozenset[str]:
    """By which statuses the statements of a body may leave it."""
    found = [exits(node) for node in body]
    return frozenset().union(*found) if any(found) else _NO_EXITS


def _none_tests(test: ast.expr, positive: bool) -> Iterator[tuple[ast.expr, bool | None]]:
    """Targets that a test narrows: (target, True) keeps None, False keeps the rest."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _none_tests(test.operand, not positive)
    elif isinstance(test, ast.BoolOp):
        if isinstance(test.op, ast.And) is positive:
            for part in test.values:
                yield from _none_tests(part, positive)
    elif isinstance(test, ast.Compare) and len(test.ops) == 1:
        right = test.comparators[0]
        if isinstance(right, ast.Constant) and right.value is None:
            if isinstance(test.ops[0], (ast.Is, ast.Eq)):
                yield test.left, positive
            elif isinstance(test.ops[0], (ast.IsNot, ast.NotEq)):
                yield test.left, not positive
    elif isinstance(test, (ast.Name, ast.Attribute)) and positive:
        yield test, False


def _fits(value: Any, keep_none: bool | None) -> bool:
    if keep_none:
        return value is None or (isinstance(value, Unknown) and not value.is_there)
    return value is not None
