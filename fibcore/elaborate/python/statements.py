"""Statements of the source: assignments, branches, loops, functions and classes."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fibcore.elaborate.python.index import _bound_names
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Env,
    Ext,
    Func,
    Mod,
    Namespace,
    Obj,
    Raised,
    hashable,
    merge,
)
from fibcore.model.tree import Alternatives, Unknown
from fibcore.syntax import children

MAX_WHILE = 4096
MAX_UNDECIDED_ROUNDS = 3
"""Rounds of a loop that may have returned before it is left."""
_DECIDED = Unknown("nothing: the condition is decided")


class Statements(Part):
    """Executes `ast.stmt` nodes."""

    def execute(self, node: ast.stmt, env: Env) -> Status:
        """Execute one statement."""
        self.step()
        handler = _STATEMENTS.get(type(node))
        if handler is None:
            self.notes.append(
                Unknown(f"{type(node).__name__} is not evaluated", env.module.place(node))
            )
            return None
        lenient = self.lenient is not None and env.func is self.lenient
        if not lenient and (not self.forward or self.trying):
            status: Status = handler(self, node, env)
            return status
        try:
            status = handler(self, node, env)
        except Raised as error:
            if error.explicit and not lenient:
                raise
            # What a tensor program computes is not followed here, so neither are its errors: the
            # statement's results are unknown, and the pass goes on.
            self.notes.append(Unknown(f"{error.kind}: {error.message}", error.place))
            self.lost.update(map(id, self.running[-1:]))  # whose statement it is
            why = f"a statement that raised {error.kind}: {error.message}"
            lost = Unknown(why, error.place or env.module.place(node))
            for target in node.targets if isinstance(node, ast.Assign) else ():
                self.assign(target, lost, env)
            return ("return", lost) if isinstance(node, ast.Return) else None
        return status

    def block(self, body: list[ast.stmt], env: Env) -> Status:
        """Execute statements until one leaves the block."""
        for position, node in enumerate(body):
            if isinstance(node, ast.If) and _leaves(node):
                status, done = self._branch_out(node, body[position + 1 :], env)
                if done:
                    return status
            else:
                status = self.execute(node, env)
            if status is not None:
                return status
        return None

    def _branch_out(self, node: ast.If, rest: list[ast.stmt], env: Env) -> tuple[Status, bool]:
        """An `if` with a side that leaves the block: `rest` is what the other side goes on with.

        Returns:
            How it ended, and whether `rest` has been run.
        """
        self.step()
        try:
            truth, why = self._decide(node, env)
        except Raised as error:
            if error.explicit or not self.forward or self.trying:
                raise
            self.notes.append(Unknown(f"{error.kind}: {error.message}", error.place))
            self.lost.update(map(id, self.running[-1:]))  # whose statement it is
            return None, False
        if truth is not None:
            side = node.body if truth else node.orelse
            if any(isinstance(inner, ast.If) and _leaves(inner) for inner in side):
                return self.block([*side, *rest], env), True
            return self.block(side, env), False
        if not _ends(node.body) and not _ends(node.orelse):
            # Both sides may come here; once is enough to follow what comes then.
            return self._both_sides(node, [], why, env), False
        return self._both_sides(node, rest, why, env), True

    def s_expr(self, node: ast.Expr, env: Env) -> Status:
        if not isinstance(node.value, ast.Constant):
            self.eval(node.value, env)
        return None

    def s_pass(self, node: ast.stmt, env: Env) -> Status:
        return None

    def s_assign(self, node: ast.Assign, env: Env) -> Status:
        value = self.eval(node.value, env)
        for target in node.targets:
            self.assign(target, value, env)
        return None

    def s_annassign(self, node: ast.AnnAssign, env: Env) -> Status:
        if node.value is not None:
            self.assign(node.target, self.eval(node.value, env), env)
        return None

    def s_augassign(self, node: ast.AugAssign, env: Env) -> Status:
        target = node.target
        current = self.eval(_loading(target), env)
        value = self.eval(node.value, env)
        if isinstance(current, list) and isinstance(node.op, ast.Add):
            items = self.items_of(value)
            if items is None:
                items = [Unknown("unknown items", env.module.place(node))]
            self.changing(current)
            current.extend(items)
            return None
        self.assign(target, self.binary(type(node.op), current, value, node, env), env)
        return None

    def assign(self, target: ast.expr, value: Any, env: Env) -> None:
        """Assign to a name, attribute, item or a pattern of those."""
        if isinstance(target, ast.Name):
            self.bind(env, target.id, value)
        elif isinstance(target, ast.Attribute):
            owner = self.eval(target.value, env)
            self.set_attr(owner, target.attr, value, env.module.place(target))
        elif isinstance(target, ast.Subscript):
            self._set_item(target, value, env)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target, value, env)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value, env)

    def _set_item(self, target: ast.Subscript, value: Any, env: Env) -> None:
        owner = self.eval(target.value, env)
        key = self.eval(target.slice, env)
        place = env.module.place(target)
        if isinstance(owner, Namespace):
            owner = owner.values
        if isinstance(owner, dict):
            if isinstance(key, (Unknown, Alternatives)):
                return
            self.pin(key)
            try:
                self.put(owner, key, value)
            except TypeError as error:
                raise Raised("TypeError", str(error), place) from None
        elif isinstance(owner, Mod) and owner.items is not None:
            if isinstance(key, str):
                self.set_attr(owner, key, value, place)
            elif isinstance(key, int) and -len(owner.items) <= key < len(owner.items):
                self.pin(key)
                self.changing(owner.items)
                owner.items[key] = value
        elif isinstance(owner, list) and isinstance(key, (int, slice)):
            self.changing(owner)
            for part in (key.start, key.stop, key.step) if isinstance(key, slice) else (key,):
                self.pin(part)
            try:
                owner[key] = value
            except (IndexError, TypeError, ValueError) as error:
                raise Raised(type(error).__name__, str(error), place) from None
        elif isinstance(owner, Obj):
            method = self.find_attr(owner, "__setitem__", place)
            if method is not ABSENT:
                self.call(method, [key, value], {}, place)

    def _unpack(self, target: ast.Tuple | ast.List, value: Any, env: Env) -> None:
        place = env.module.place(target)
        count = len(target.elts)
        if isinstance(value, Alternatives):
            parts = [v for v in value.values if v is not ABSENT]
            rows = [self._row(v, count) for v in parts]
            columns = zip(*rows, strict=False)
            for element, column in zip(target.elts, columns, strict=False):
                self.assign(element, merge(column), env)
            return
        items = None if isinstance(value, Unknown) else self.items_of(value)
        if items is None:
            reason = value if isinstance(value, Unknown) else Unknown("unpacking", place)
            for element in target.elts:
                self.assign(element, reason, env)
            return
        star = next((i for i, e in enumerate(target.elts) if isinstance(e, ast.Starred)), None)
        if star is None:
            if len(items) != count:
                raise Raised("ValueError", f"expected {count} values, got {len(items)}", place)
            for element, item in zip(target.elts, items, strict=False):
                self.assign(element, item, env)
            return
        after = count - star - 1
        if len(items) < count - 1:
            raise Raised("ValueError", f"expected at least {count - 1} values", place)
        middle = items[star : len(items) - after]
        picked = [*items[:star], middle, *items[len(items) - after :]]
        for element, item in zip(target.elts, picked, strict=False):
            self.assign(element, item, env)

    def _row(self, value: Any, count: int) -> list[Any]:
        items = None if isinstance(value, Unknown) else self.items_of(value)
        if items is None or len(items) != count:
            return [value if isinstance(value, Unknown) else Unknown("unpacking")] * count
        return items

    # -- control flow --------------------------------------------------------------------------

    def s_if(self, node: ast.If, env: Env) -> Status:
        truth, why = self._decide(node, env)
        if truth is not None:
            return self.block(node.body if truth else node.orelse, env)
        return self._both_sides(node, [], why, env)

    def _decide(self, node: ast.If, env: Env) -> tuple[bool | None, Unknown]:
        """Which side of a branch is taken, and why that is not known where it is not."""
        value = self.condition(node.test, env)
        truth = self.truth(value)
        if truth is not None:
            return truth, _DECIDED
        reason = value.reason if isinstance(value, Unknown) else "an undecided condition"
        return None, Unknown(f"`{_short(node.test)}`: {reason}", env.module.place(node))

    def _both_sides(self, node: ast.If, rest: list[ast.stmt], why: Unknown, env: Env) -> Status:
        """Both sides of an undecided branch; each goes on with `rest` unless it leaves."""

        def side(body: list[ast.stmt], positive: bool) -> Callable[[], Status]:
            def run() -> Status:
                self._narrow(node.test, env, positive)
                return self.block([*body, *rest], env)

            return run

        return self.either([side(node.body, True), side(node.orelse, False)], env, why)

    @contextlib.contextmanager
    def narrowed(self, test: ast.expr, env: Env, *, positive: bool) -> Iterator[None]:
        """Inside a branch on `x is None` and the like, `x` keeps only the fitting alternatives."""
        undo = self._narrow(test, env, positive)
        try:
            yield
        finally:
            for container, key, value, narrow in undo:
                # Only what the branch left alone: an assignment of its own has to stay.
                if container.get(key) is narrow:
                    container[key] = value

    def _narrow(
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
                self.put(container, key, narrow)
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
            owner = self.lookup(target.value.id, env, target)
            if isinstance(owner, Obj) and target.attr in owner.attrs:
                return owner.attrs, target.attr
        return None

    def s_for(self, node: ast.For, env: Env) -> Status:
        return self._loop(node, self.eval(node.iter, env), env)

    def _loop(self, node: ast.For, iterable: Any, env: Env) -> Status:
        place = env.module.place(node)
        if isinstance(iterable, Alternatives):
            sides: list[Callable[[], Status]] = [
                partial(self._loop, node, value, env)
                for value in iterable.values
                if value is not ABSENT
            ]
            return self.either(sides, env, Unknown("one of several ranges", place))
        items = None if isinstance(iterable, Unknown) else self.items_of(iterable)
        if items is None:
            why = (
                iterable
                if isinstance(iterable, Unknown)
                else Unknown("an unknown number of rounds", place)
            )

            def once() -> Status:
                self.assign(
                    node.target, Unknown(f"an item of something unknown: {why.reason}", place), env
                )
                status = self.block(node.body, env)
                return status if status is not None and status[0] == "return" else None

            status = self.either([once, lambda: None], env, why)
            return status if status is not None else self.block(node.orelse, env)
        for item in items:
            self.assign(node.target, item, env)
            status = self.block(node.body, env)
            if status is None or status[0] == "continue":
                continue
            if status[0] == "break":
                return None
            return status
        return self.block(node.orelse, env)

    def s_while(self, node: ast.While, env: Env) -> Status:
        first = len(env.maybe)
        undecided = 0
        for _ in range(MAX_WHILE):
            seen = len(env.maybe)
            truth = self.truth(self.condition(node.test, env))
            if truth is None:
                return self.either(
                    [lambda: _only_return(self.block(node.body, env)), lambda: None],
                    env,
                    Unknown("an unknown number of rounds", env.module.place(node)),
                )
            if not truth:
                return self.block(node.orelse, env)
            status = self.block(node.body, env)
            if status is not None and status[0] == "break":
                return None
            if status is not None and status[0] == "return":
                return status
            undecided += len(env.maybe) > seen
            if undecided >= MAX_UNDECIDED_ROUNDS:
                # Some round returned, and which is not known: more of them tell nothing new.
                return ("return", merge(env.maybe[first:]))
        self.notes.append(Unknown("a loop that does not end", env.module.place(node)))
        return None

    def s_return(self, node: ast.Return, env: Env) -> Status:
        return ("return", None if node.value is None else self.eval(node.value, env))

    def s_break(self, node: ast.Break, env: Env) -> Status:
        return ("break", None)

    def s_continue(self, node: ast.Continue, env: Env) -> Status:
        return ("continue", None)

    def s_raise(self, node: ast.Raise, env: Env) -> Status:
        kind, message = "Exception", ""
        parents: tuple[str, ...] = ()
        for name, caught in reversed(self.handling):
            if node.exc is None or (isinstance(node.exc, ast.Name) and node.exc.id == name):
                raise caught
        if node.exc is not None:
            call = node.exc if isinstance(node.exc, ast.Call) else None
            named = call.func if call is not None else node.exc
            kind = ast.unparse(named).rpartition(".")[2]
            cls = self.eval(named, env)
            if isinstance(cls, Class):
                parents = tuple(c.name.rpartition(".")[2] for c in cls.mro)
            if call is not None and call.args:
                try:
                    text = self.eval(call.args[0], env)
                except Raised:
                    text = None
                message = text if isinstance(text, str) else _template(call.args[0])
        place = env.module.place(node)
        raise Raised(kind, str(message), place, explicit=True, parents=parents)

    def s_assert(self, node: ast.Assert, env: Env) -> Status:
        if self.truth(self.condition(node.test, env)) is False:
            raise Raised("AssertionError", self._explained(node.test, env), env.module.place(node))
        return None

    def _explained(self, test: ast.expr, env: Env) -> str:
        """A failed assertion with the numbers that are in it."""
        shown = []
        for part in ast.walk(test):
            if isinstance(part, (ast.Name, ast.Attribute)) and isinstance(part.ctx, ast.Load):
                try:
                    value = self.eval(part, env)
                except Raised:
                    continue
                if isinstance(value, (int, float, str)):
                    shown.append(f"{ast.unparse(part)} = {value}")
        text = ast.unparse(test)
        return f"{text} does not hold" + (f" ({', '.join(dict.fromkeys(shown))})" if shown else "")

    def s_try(self, node: ast.Try, env: Env) -> Status:
        status: Status = None
        self.trying += 1
        try:
            try:
                status = self.block(node.body, env)
            finally:
                self.trying -= 1
            if status is None:
                status = self.block(node.orelse, env)
        except Raised as error:
            handler = next((h for h in node.handlers if _catches(h, error)), None)
            if handler is None:
                self.block(node.finalbody, env)
                raise
            if handler.name:
                self.bind(env, handler.name, Unknown(f"{error.kind}: {error.message}", error.place))
            self.handling.append((handler.name, error))
            try:
                status = self.block(handler.body, env)
            finally:
                self.handling.pop()
        final = self.block(node.finalbody, env)
        return final if final is not None else status

    def s_with(self, node: ast.With, env: Env) -> Status:
        kinds = {name for item in node.items for name in _suppressed(item.context_expr)}
        if not kinds:
            return self._within(node, env)
        self.trying += 1
        try:
            return self._within(node, env)
        except Raised as error:
            if not kinds & (_CATCH_ALL | {error.kind} | set(_PARENTS.get(error.kind, ()))):
                raise
            return None
        finally:
            self.trying -= 1

    def _within(self, node: ast.With, env: Env) -> Status:
        for item in node.items:
            value = self.eval(item.context_expr, env)
            if item.optional_vars is not None:
                if isinstance(value, Obj) and not isinstance(value, Mod):
                    enter = self.find_attr(value, "__enter__", env.module.place(node))
                    entered = (
                        self.call(enter, [], {}, env.module.place(node))
                        if enter is not ABSENT
                        else value
                    )
                elif isinstance(value, list) and len(value) == 1:
                    entered = value[0]  # a generator that a contextmanager decorator wraps
                else:
                    entered = Unknown("what a with statement enters", env.module.place(node))
                self.assign(item.optional_vars, entered, env)
        return self.block(node.body, env)

    def s_delete(self, node: ast.Delete, env: Env) -> Status:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.put(env.vars, target.id, ABSENT)
            elif isinstance(target, ast.Attribute):
                owner = self.eval(target.value, env)
                if isinstance(owner, Obj):
                    self.put(owner.attrs, target.attr, ABSENT)
            elif isinstance(target, ast.Subscript):
                container = self.eval(target.value, env)
                key = self.eval(target.slice, env)
                known = not isinstance(key, (Unknown, Alternatives)) and hashable(key)
                if isinstance(container, dict) and known:
                    self.put(container, key, ABSENT)
                elif isinstance(container, list) and isinstance(key, (int, slice)):
                    self.changing(container)
                    del container[key]
        return None

    def s_import(self, node: ast.Import | ast.ImportFrom, env: Env) -> Status:
        self.do_import(node, env)
        return None

    def s_global(self, node: ast.Global, env: Env) -> Status:
        env.globals_ = (env.globals_ or set()) | set(node.names)
        for name in node.names:
            self.module_name(env.module, name)
        return None

    def s_nonlocal(self, node: ast.Nonlocal, env: Env) -> Status:
        for name in node.names:
            scope = env.outer
            while scope is not None and name not in scope.vars:
                scope = scope.outer
            if scope is not None:
                env.nonlocals[name] = scope.vars
        return None

    def s_match(self, node: ast.Match, env: Env) -> Status:
        subject = self.eval(node.subject, env)
        for case in node.cases:
            hit = self._matches(case.pattern, subject, env)
            if hit is None:
                return self._match_all(node, env)
            if hit and case.guard is not None:
                hit = self.truth(self.eval(case.guard, env))
                if hit is None:
                    return self._match_all(node, env)
            if hit:
                return self.block(case.body, env)
        return None

    def _match_all(self, node: ast.Match, env: Env) -> Status:
        sides: list[Callable[[], Status]] = [partial(self.block, c.body, env) for c in node.cases]
        last = node.cases[-1]
        if last.guard is not None or not isinstance(last.pattern, ast.MatchAs):
            sides.append(lambda: None)  # perhaps none of them matches
        return self.either(sides, env, Unknown("an undecided match", env.module.place(node)))

    def _matches(self, pattern: ast.pattern, subject: Any, env: Env) -> bool | None:
        if isinstance(pattern, ast.MatchAs):
            if pattern.pattern is not None:
                hit = self._matches(pattern.pattern, subject, env)
                if not hit:
                    return hit
            if pattern.name:
                self.bind(env, pattern.name, subject)
            return True
        if isinstance(pattern, ast.MatchOr):
            hits = [self._matches(p, subject, env) for p in pattern.patterns]
            return True if True in hits else None if None in hits else False
        if isinstance(pattern, ast.MatchSingleton):
            return None if isinstance(subject, Unknown) else subject is pattern.value
        if isinstance(pattern, ast.MatchValue):
            equal = self.compare(
                ast.Eq(), subject, self.eval(pattern.value, env), env.module.place(pattern)
            )
            return self.truth(equal)
        return None

    # -- definitions ---------------------------------------------------------------------------

    def s_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, env: Env) -> Status:
        kind = "function"
        for decorator in node.decorator_list:
            text = ast.unparse(decorator)
            last = text.partition("(")[0].rpartition(".")[2]
            if last in ("setter", "deleter"):
                return None
            if last in ("property", "cached_property", "staticmethod", "classmethod"):
                kind = last
        self.bind(env, node.name, self.make_function(node, env, node.name, kind=kind))
        return None

    def make_function(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        env: Env,
        name: str,
        cls: Class | None = None,
        kind: str = "function",
    ) -> Func:
        """A function object; its defaults are evaluated now, as Python does."""
        prefix = f"{cls.qualified}." if cls is not None else f"{env.module.name}."
        func = Func(node, env, prefix + name, cls, kind)
        positional = [*node.args.posonlyargs, *node.args.args]
        for arg, default in zip(positional[::-1], node.args.defaults[::-1], strict=False):
            func.defaults[arg.arg] = self._default(default, env)
        for arg, kw_default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=False):
            if kw_default is not None:
                func.defaults[arg.arg] = self._default(kw_default, env)
        return func

    def _default(self, node: ast.expr, env: Env) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        try:
            return self.eval(node, env)
        except Raised as error:
            return Unknown(f"a default that raises {error.kind}", error.place)

    def s_class(self, node: ast.ClassDef, env: Env) -> Status:
        bases = []
        for base in node.bases:
            value = self.eval(base, env)
            if isinstance(value, Alternatives):
                value = value.values[0]
            bases.append(
                value if isinstance(value, (Class, Ext)) else Ext("unknown." + _short(base))
            )
        cls = Class(node, env.module, env, bases)
        cls.decorators = [ast.unparse(d).partition("(")[0] for d in node.decorator_list]
        for statement in node.body:
            for name in _bound_names([statement]):
                cls.names.setdefault(name, []).append(statement)
        self.bind(env, node.name, cls)
        return None


def _loading(node: ast.expr) -> ast.expr:
    """The same target as an expression that is read."""
    if isinstance(node, ast.Name):
        new: ast.expr = ast.Name(id=node.id, ctx=ast.Load())
    elif isinstance(node, ast.Attribute):
        new = ast.Attribute(value=node.value, attr=node.attr, ctx=ast.Load())
    elif isinstance(node, ast.Subscript):
        new = ast.Subscript(value=node.value, slice=node.slice, ctx=ast.Load())
    else:
        new = node
    return ast.copy_location(new, node)


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


def _leaves(node: ast.If) -> bool:
    """Whether a branch may leave the block that it stands in; remembered on its syntax."""
    known: bool | None = getattr(node, "leaves", None)
    if known is None:
        known = any(_exits(statement) for statement in (*node.body, *node.orelse))
        node.leaves = known  # type: ignore[attr-defined]
    return known


def _exits(node: ast.stmt, in_loop: bool = False) -> bool:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    if isinstance(node, ast.Return):
        return True
    if isinstance(node, (ast.Break, ast.Continue)):
        return not in_loop
    in_loop = in_loop or isinstance(node, (ast.For, ast.While))
    for inner in children(node):
        if isinstance(inner, ast.stmt):
            if _exits(inner, in_loop):
                return True
        elif isinstance(inner, (ast.ExceptHandler, ast.match_case)) and any(
            _exits(deep, in_loop) for deep in inner.body
        ):
            return True
    return False


def _ends(body: list[ast.stmt]) -> bool:
    """Whether a block always leaves the block around it."""
    last = body[-1] if body else None
    if isinstance(last, ast.If):
        return _ends(last.body) and _ends(last.orelse)
    return isinstance(last, (ast.Return, ast.Break, ast.Continue, ast.Raise))


def _short(node: ast.AST, limit: int = 60) -> str:
    text = ast.unparse(node)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _only_return(status: Status) -> Status:
    return status if status is not None and status[0] == "return" else None


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


def _catches(handler: ast.ExceptHandler, error: Raised) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {ast.unparse(t).rpartition(".")[2] for t in types}
    kinds = {error.kind, *error.parents}
    return bool(names & kinds.union(_CATCH_ALL, *(_PARENTS.get(kind, ()) for kind in kinds)))


def _suppressed(node: ast.expr) -> set[str]:
    """The exceptions that `contextlib.suppress(...)` names; none for any other expression."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "suppress":
        return {ast.unparse(a).rpartition(".")[2] for a in node.args}
    return set()


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
        return value is None or (isinstance(value, Unknown) and not value.is_tensor)
    return value is not None


_STATEMENTS: dict[type, Callable[[Any, Any, Env], Status]] = {
    ast.Expr: Statements.s_expr,
    ast.Pass: Statements.s_pass,
    ast.Assign: Statements.s_assign,
    ast.AnnAssign: Statements.s_annassign,
    ast.AugAssign: Statements.s_augassign,
    ast.If: Statements.s_if,
    ast.For: Statements.s_for,
    ast.While: Statements.s_while,
    ast.Return: Statements.s_return,
    ast.Break: Statements.s_break,
    ast.Continue: Statements.s_continue,
    ast.Raise: Statements.s_raise,
    ast.Assert: Statements.s_assert,
    ast.Try: Statements.s_try,
    ast.With: Statements.s_with,
    ast.Delete: Statements.s_delete,
    ast.Import: Statements.s_import,
    ast.ImportFrom: Statements.s_import,
    ast.Global: Statements.s_global,
    ast.Nonlocal: Statements.s_nonlocal,
    ast.Match: Statements.s_match,
    ast.FunctionDef: Statements.s_function,
    ast.AsyncFunctionDef: Statements.s_function,
    ast.ClassDef: Statements.s_class,
}
