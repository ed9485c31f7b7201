"""Calls of functions."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python import plain, starred
from fibcore.elaborate.python.areas import WORD
from fibcore.elaborate.python.branches import exits_of
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.pure import changes_nothing, handled_in
from fibcore.elaborate.python.registrars import registrars_of
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Env,
    Func,
    Kwargs,
    Mod,
    Namespace,
    Native,
    Raised,
    Repeat,
    Value,
    born,
    depends,
    hashable,
    is_unknown,
    may_be_absent,
    merge,
    one_of,
)
from fibcore.elaborate.python.values.contexts import GeneratorContext
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

MAX_DEPTH = 48
"""Deeper nested calls than any model has; each takes many frames of this interpreter."""


_GIVEN = "given"
"""The key under which a function with a cache has what it gives without arguments."""
_RECURSIONS = 2
"""Calls of a function in each other before it is asked whether they come to anything."""
_MANY_RECURSIONS = 8
"""As many, of one that may change something."""


class Calls(Part):
    """Calls whatever can be called.

    Attributes:
        depth: How many calls of functions of the source are running.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.depth = 0
        self._running: list[ast.AST] = []
        self._names: list[str] = []

    @property
    def running(self) -> tuple[str, ...]:
        """The qualified names of the functions of the source that are running, outermost first."""
        return tuple(self._names)

    @contextlib.contextmanager
    def from_top(self) -> Iterator[None]:
        """Count the depth of calls inside from zero."""
        saved, self.depth = self.depth, 0
        try:
            yield
        finally:
            self.depth = saved

    def handlers(self) -> Handlers:
        return {
            ast.Call: self.syntax,
        }

    def syntax(self, node: ast.Call, env: Env) -> Any:
        """A call as it stands in the source."""
        place = env.module.place(node)
        func = self.ev.expressions.eval(node.func, env)
        args, after = self._positional(node, func, env)
        kwargs, others = self._named(node, env)
        if after is not None or others:
            why = "unknown **arguments" if after is None else "unknown *arguments"
            if self.ev.mode.forward and after is not None and not others:
                given = starred.filled(func, args, kwargs, Unknown.tensor(why, place))
                if given is not None:
                    return self.call(func, given, kwargs, place)
            return self.unbound(func, args, kwargs, [*(after or ()), *others], place, why)
        several = starred.spread(args)
        if len(several) == 1:
            return self._one(node, func, several[0], kwargs, env)
        sides = [partial(self._one, node, func, one, dict(kwargs), env) for one in several]
        return self.ev.writes.choose(sides, Unknown("one of several numbers of arguments", place))

    def _one(self, node: ast.Call, func: Any, args: Args, kwargs: Kwargs, env: Env) -> Any:
        """A call whose arguments are those."""
        place = env.module.place(node)
        if self.ev.launches.active and isinstance(node.func, ast.Attribute):
            self.ev.launches.note_method(func, node.func.attr, args, kwargs, place)
        # These two ask for the scope that they are called in.
        if func is self.ev.builtins["super"] and not args:
            return self.ev.classes.make_super(env, place)
        if func is self.ev.builtins["locals"]:
            return born(dict(env.vars))
        return self.call(func, args, kwargs, place, _method(func, node.func))

    def _positional(
        self, node: ast.Call, func: Any, env: Env
    ) -> tuple[list[Any], list[Any] | None]:
        """The positional arguments, and what follows those of which the number is not known."""
        args: list[Any] = []
        after: list[Any] | None = None
        for arg in node.args:
            found = args if after is None else after
            if not isinstance(arg, ast.Starred):
                found.append(self.ev.expressions.eval(arg, env))
                continue
            value = self.ev.expressions.eval(arg.value, env)
            items = self._unpacked(value, alone=not any(map(starred.is_several, found)))
            if items is not None:
                found.extend(items)
            elif self.ev.mode.forward and isinstance(func, (Mod, Repeat)):
                # That the module is called is worth noting all the same.
                found.append(Unknown("unpacked arguments", env.module.place(node)))
            else:
                after = [*(after or ()), value]
        return args, after

    def _named(self, node: ast.Call, env: Env) -> tuple[dict[str, Any], list[Any]]:
        """The keyword arguments, and what holds others whose names are not known."""
        kwargs: dict[str, Any] = {}
        others: list[Any] = []
        for keyword in node.keywords:
            value = self.ev.expressions.eval(keyword.value, env)
            if keyword.arg is not None:
                self._refuse_twice(kwargs, [keyword.arg], env.module.place(node))
                kwargs[keyword.arg] = value
            elif isinstance(value, dict) and all(isinstance(k, str) for k in value):
                self._refuse_twice(kwargs, value, env.module.place(node))
                kwargs.update({str(k): v for k, v in value.items()})
            elif isinstance(value, dict) and not any(map(is_unknown, value)):
                raise Raised("TypeError", "keywords must be strings", env.module.place(node))
            elif isinstance(value, Alternatives) and all(isinstance(v, dict) for v in value.values):
                kwargs.update(_merged(value))
            elif isinstance(value, Namespace):
                kwargs.update(value.values)
            elif isinstance(getattr(value, "holder", None), dict) and value.items(self.ev) == list(
                value.holder
            ):  # a proxy of a dict
                kwargs.update({str(k): v for k, v in value.holder.items()})
            else:
                others += value.values() if isinstance(value, dict) else [value]
        return kwargs, others

    def _unpacked(self, value: Any, *, alone: bool) -> list[Any] | None:
        """The items of `*value`; of several sequences of one length, item by item.

        Args:
            value: What is unpacked.
            alone: Whether no other of the call has several lengths: then it may have them.
        """
        items = self.ev.operators.items
        if not isinstance(value, Alternatives):
            return items(value)
        rows = starred.rows(value, items)
        if rows is None:
            return None
        columns = starred.columns(rows)
        return [starred.Several(rows)] if columns is None and alone else columns

    def call(
        self,
        func: Any,
        args: Args,
        kwargs: Kwargs,
        place: SourcePlace | None,
        method: str | None = None,
    ) -> Any:
        """`func(*args, **kwargs)`.

        Args:
            func: What is called.
            args: Positional arguments.
            kwargs: Keyword arguments.
            place: Where the call stands.
            method: What a method of something unknown is noted as; None for anything else.
        """
        at = place or SourcePlace("", 1)
        if isinstance(func, Value):
            return func.call(self.ev, args, kwargs, at)
        if isinstance(func, Alternatives):
            return self.ev.writes.mapped(func, lambda f: self.call(f, args, kwargs, at))
        if isinstance(func, Unknown):
            name = f"unknown function ({func.reason})"
            self.ev.forward.note_parameters(name if method is None else method, args, kwargs, at)
            self.ev.forward.give_away(args, kwargs)
            if self.ev.mode.forward:
                # Whatever method of whatever module it is, it computes with tensors.
                attribute = func.kind is UnknownKind.ATTRIBUTE
                return Unknown.tensor(func.reason, at) if attribute else func
            self.ev.doubts.hand_over((*args, *kwargs.values()), Unknown(name, at))
            self.ev.exceptions.may_raise_anything(at)
            if func.kind is UnknownKind.TENSOR:
                return func
            return attrs.evolve(func, kind=UnknownKind.VALUE)
        if func is None and self.ev.mode.forward:
            # As with its attributes: loading may set what a constructor leaves at None.
            return Unknown.tensor("the result of what is set when weights are loaded", at)
        return plain.not_callable(func, at)

    def unbound(
        self,
        func: Any,
        args: Args,
        kwargs: Kwargs,
        others: Iterable[Any],
        place: SourcePlace,
        why: str,
    ) -> Any:
        """A call with arguments beside those that are known; a class of modules still gives one."""
        if isinstance(func, Class) and self.ev.classes.is_module(func):
            mod = Mod(func, place)
            mod.unbound = Unknown(why, place)
            mod.leaf = True
            return mod
        unknown = Unknown(why, place)
        if self.ev.launches.active:
            self.ev.launches.note_unbound(func, why, place)
        if not self.ev.mode.forward:
            self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
            self.ev.unfollowed.with_anything(func, unknown, place, args, kwargs)
            self.ev.doubts.hand_over(tuple(others), unknown)
        return unknown

    def call_function(
        self,
        func: Func,
        args: Args,
        kwargs: Kwargs,
        place: SourcePlace,
        *,
        tolerant: bool = False,
        bound: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of the source.

        Args:
            func: The function.
            args: Positional arguments, an instance included.
            kwargs: Keyword arguments.
            place: Where the call stands.
            tolerant: Whether each statement of its body that raises is lost alone, so that what
                the others settle is there.
            bound: The arguments by parameter, where they are not bound from those given.
        """
        self.ev.budget.spend(4, "a call")
        module = func.env.module.name
        fact = self.ev.environment.function(func.qualname, module)
        if fact is not ABSENT:
            self.ev.forward.give_away(args, kwargs)
            return fact.fn(self.ev, args, kwargs, place) if isinstance(fact, Native) else fact
        if func.cache is not None:
            return self._remembered(func, args, kwargs, place)
        if self.depth >= MAX_DEPTH:
            return self._left_off(f"calls nested deeper than {MAX_DEPTH}", args, kwargs, place)
        if self.depth >= _RECURSIONS and self._recurs(func, args, kwargs):
            return self._left_off("a recursion over something unknown", args, kwargs, place)
        if isinstance(func.node, ast.AsyncFunctionDef):
            self.ev.forward.give_away(args, kwargs)
            return Unknown("an async function", place)
        registers = bool(registrars_of(func.env.module.source)) and _registers(func)
        if self.ev.mode.forward:
            self.ev.forward.note_parameters(func.qualname, args, kwargs, place)
            if self.ev.launches.stops(func, args, kwargs, place):
                return Unknown.tensor(f"tensor from {func.qualname}", place)
            if self.ev.forward.notes(func, args, kwargs, place):
                return Unknown.tensor(f"tensor from {func.qualname}", place)
            # A function of a kernel package that is given nothing computes nothing: it tells what
            # is turned on, and with that which way the forward pass goes.
            computes = bool(args or kwargs) and self.ev.environment.is_kernel(module)
            if computes and not self.ev.launches.active:
                self.ev.forward.give_away(args, kwargs)
                return Unknown.tensor(f"tensor from {func.qualname}", place)
        elif not tolerant and bound is None and not registers:
            found = self.ev.compiled.call(func, args, kwargs, place)
            if found is not ABSENT:
                return found
        env = Env(func.env.module, func.env, func, tolerant=tolerant)
        env.vars.update(self.bind_arguments(func, args, kwargs, place) if bound is None else bound)
        if func.is_generator:
            made = self.ev.generators.generator(func, env, place)
            if not func.managed:
                return made
            again = partial(self.call_function, func, args, kwargs, place)
            return GeneratorContext(made, again, handled_in(func.node))
        self.depth += 1
        self._running.append(func.node)
        self._names.append(func.qualname)
        self.ev.registries.registering += registers
        try:
            if isinstance(func.node, ast.Lambda):
                return self.ev.expressions.eval(func.node.body, env)
            status = self._body(func.node, env)
        except Raised as error:
            error.scopes.append(env)
            raise
        finally:
            self.depth -= 1
            self._running.pop()
            self._names.pop()
            self.ev.registries.registering -= registers
        if self.ev.generators.made:
            self.ev.generators.leave(func.node, env)
        return status[1] if status is not None and status[0] == "return" else None

    def _refuse_twice(self, kwargs: Kwargs, names: Iterable[Any], place: SourcePlace) -> None:
        for name in names:
            if name in kwargs:
                if self.ev.exceptions.handled:  # Python 3.11 raises another one in a handler
                    self.ev.exceptions.may_raise(place, "KeyError")
                raise Raised("TypeError", f"got multiple values for argument {name!r}", place)

    def _recurs(self, func: Func, args: Args, kwargs: Kwargs) -> bool:
        """Whether a function goes on calling itself with unknown arguments."""
        node = func.node
        times = self._running.count(node)
        if times < _RECURSIONS or not isinstance(node, ast.FunctionDef):
            return False
        unknown = [isinstance(value, Unknown) for value in (*args, *kwargs.values())]
        if times >= _MANY_RECURSIONS and any(unknown):
            return True
        return all(unknown) and changes_nothing(node)

    def _left_off(self, why: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Unknown:
        """A call that is not followed, though it may do whatever can be done with its arguments."""
        self.ev.forward.give_away(args, kwargs)
        unknown = Unknown(why, place)
        self.ev.doubts.hand_over((*args, *kwargs.values()), unknown)
        self.ev.exceptions.may_raise_anything(place)
        return unknown

    def _body(self, node: ast.FunctionDef, env: Env) -> Status:
        """The body of a function, which returns on some sides of undecided branches."""
        body = node.body
        if _returns_early(node):
            return self.ev.writes.within(
                "return", env, partial(self.ev.statements.block, body, env)
            )
        return self.ev.statements.block(body, env)

    def _remembered(self, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """What a function with a cache gives: of the same arguments, the same object."""
        cache: list[Any] | None = func.cache
        assert cache is not None
        assert func.only is not None
        given = [*args, *kwargs.values()]
        if not given:
            return self._remembered_alone(func, func.only, place)
        again = self.ev.unfollowed.reach.beyond(func)
        if again:  # then it matters how often it is called
            for value in given:
                self.ev.layers.pin(value)
        # What depends on a layer, or is not known, is each time another call.
        known = not any(depends(v) or is_unknown(v) for v in given)
        doubtful = False
        for old in cache:
            if not known or not isinstance(old, tuple) or old[0] is None:
                doubtful = True  # another call may have been one of the same arguments
                continue
            old_args, old_kwargs, value = old
            if (
                list(old_kwargs) == list(kwargs)
                and _same_call(old_args, args)
                and _same_call(list(old_kwargs.values()), list(kwargs.values()))
            ):
                return value
        plain_func = func.of_kind(func.kind)
        plain_func.cache = None
        run = partial(self.call_function, plain_func, args, kwargs, place)
        why = Unknown("what a function with a cache has given before, if it has", place)
        if again and doubtful:
            before = one_of([old[2] if isinstance(old, tuple) else old for old in cache], why)
            value = self.ev.writes.choose([run, lambda: before], why)
        else:
            value = run()
        if known or again:
            self.ev.writes.changing(cache)
            cache.append((list(args) if known else None, dict(kwargs), value))
        return value

    def _remembered_alone(self, func: Func, only: dict[str, Any], place: SourcePlace) -> Any:
        """What a function with a cache gives without arguments, of which there is one call alone.

        Args:
            func: The function.
            only: What it has given, under one key.
            place: Where the call stands.
        """
        before = only.get(_GIVEN, ABSENT)
        if before is not ABSENT and not may_be_absent(before):
            return before
        plain_func = func.of_kind(func.kind)
        plain_func.cache = plain_func.only = None
        run = partial(self.call_function, plain_func, [], {}, place)
        if before is ABSENT:
            value = run()
        else:  # one side of a branch called it
            known = merge(part for part in before.values if part is not ABSENT)
            why = Unknown("whether a function with a cache has been called before", place)
            value = self.ev.writes.choose([run, lambda: known], why)
        self.ev.writes.put(only, _GIVEN, value)
        return value

    def bind_arguments(
        self, func: Func, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> dict[str, Any]:
        """Arguments by parameter name, as Python binds them; defaults filled in."""
        spec = func.node.args
        positional = [a.arg for a in (*spec.posonlyargs, *spec.args)]
        if len(args) > len(positional) and spec.vararg is None:
            given = f"{len(positional)} positional arguments, {len(args)} given"
            raise Raised("TypeError", f"{func.name}() takes {given}", place)
        found: dict[str, Any] = dict(zip(positional, args, strict=False))
        if spec.vararg is not None:
            found[spec.vararg.arg] = tuple(args[len(positional) :])
        extra: dict[str, Any] = born({})
        names = {a.arg for a in (*spec.args, *spec.kwonlyargs)}
        for name, value in kwargs.items():
            if value is ABSENT:
                continue
            if name in names:
                if name in found:
                    raise Raised("TypeError", f"{func.name}() got {name} twice", place)
                found[name] = value
            elif spec.kwarg is not None:
                extra[name] = value
            else:
                raise Raised("TypeError", f"{func.name}() has no parameter {name}", place)
        if spec.kwarg is not None:
            found[spec.kwarg.arg] = extra
        for name in (*positional, *(a.arg for a in spec.kwonlyargs)):
            if name not in found:
                if name not in func.defaults:
                    raise Raised("TypeError", f"{func.name}() misses the argument {name}", place)
                found[name] = func.defaults[name]
            elif isinstance(found[name], Alternatives) and ABSENT in found[name].values:
                # It was given on one side of a branch: on the other the default stands.
                kept = [v for v in found[name].values if v is not ABSENT]
                missing = Unknown("an argument that may be missing", place)
                found[name] = merge([*kept, func.defaults.get(name, missing)])
        return found


def _registers(func: Func) -> bool:
    """Whether a function registers something, by its name or that of the one around it."""
    around = func.env.func
    return WORD in func.qualname or (around is not None and WORD in around.qualname)


def _returns_early(node: ast.FunctionDef) -> bool:
    """Whether a function may return before its end; remembered on its syntax."""
    known: bool | None = getattr(node, "returns_early", None)
    if known is None:
        body = node.body
        # A return at the end, or none, leaves no way that goes on while another has returned.
        known = bool(exits_of(body[:-1] if isinstance(body[-1], ast.Return) else body))
        node.returns_early = known  # type: ignore[attr-defined]
    return known


def _method(func: Any, syntax: ast.expr) -> str | None:
    """What a call of a method is noted as whose object the server sets: its name."""
    if not isinstance(func, Unknown) or func.kind is not UnknownKind.ATTRIBUTE:
        return None
    if not isinstance(syntax, ast.Attribute):
        return None
    return f"unknown object ({func.reason}).{syntax.attr}"


def _same_call(left: Args, right: Args) -> bool:
    """Whether arguments are the same ones, as keys of a cache."""
    return len(left) == len(right) and all(
        a is b or (type(a) is type(b) and hashable(a) and not isinstance(a, Value) and a == b)
        for a, b in zip(left, right, strict=True)
    )


def _merged(value: Alternatives) -> dict[str, Any]:
    """Keyword arguments out of one of several dicts; what some of them lack may be missing."""
    keys = dict.fromkeys(k for d in value.values for k in d)
    return {str(k): merge(d.get(k, ABSENT) for d in value.values) for k in keys}
