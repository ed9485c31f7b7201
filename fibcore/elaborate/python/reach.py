"""What can be reached from values, and from functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.local_names import local_names
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    Bound,
    Class,
    EnumMember,
    Env,
    Ext,
    Func,
    Mod,
    Native,
    Obj,
    Raised,
    Repeat,
    Value,
)
from fibcore.model.tree import Alternatives, Unknown
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_SCALARS = (str, int, float, type(None))
"""What holds nothing: most of a config."""


def modules_within(values: Iterable[Any]) -> dict[int, Mod]:
    """The modules that somebody who is handed values gets at, by their ids."""
    found: dict[int, Mod] = {}
    seen: set[int] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mod):
            found[id(value)] = value
        pending += [part for part in _parts(value) if not isinstance(part, _SCALARS)]
    return found


def _parts(value: Any) -> Iterable[Any]:
    """What a value holds."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    return _parts_of_object(value)


def _parts_of_object(value: Any) -> Iterator[Any]:
    if isinstance(value, Alternatives):
        yield from value.values
    elif isinstance(value, Obj):
        yield from value.attrs.values()
        yield from (getattr(value, "args", None) or {}).values()
        if isinstance(value, Mod):
            yield from value.entries or ()
    elif isinstance(value, Repeat):
        yield value.made
        yield value.like
    elif isinstance(value, Bound):
        yield value.self
        yield value.func
    elif isinstance(value, Native):
        yield value.owner
    elif isinstance(value, Func):
        env: Any = value.env
        while env is not None and env.func is not None:
            yield from env.vars.values()
            env = env.outer
    elif isinstance(value, Value) and not isinstance(value, (Class, Ext)):
        for kind in type(value).__mro__:
            for slot in getattr(kind, "__slots__", ()):
                yield getattr(value, slot, None)


_STORED = (ast.Attribute, ast.Subscript)
_AT_REST = (str, int, float, bytes, type(None), Ext, Native, Unknown, EnumMember)
"""What cannot be changed, or is not of the source."""


class Reach(Part):
    """Tells whether a function may change what is neither its own nor an argument's."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._known: dict[ast.AST, bool] = {}

    def beyond(self, func: Func) -> bool:
        """Whether a function, or one that it calls by its name, may change what is around it."""
        known = self._known.get(func.node)
        if known is None:
            self._known[func.node] = False  # until it is known, for one that calls itself
            known = self._known[func.node] = self._beyond(func)
        return known

    def _beyond(self, func: Func) -> bool:
        if any(isinstance(part, (ast.Global, ast.Nonlocal)) for part in walk(func.node)):
            return True
        spec = func.node.args
        given = (*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg)
        own = {arg.arg for arg in given if arg is not None}
        own |= local_names(func.node, func.env.module.source)
        stored = [part for part in walk(func.node) if isinstance(part, _STORED)]
        if any(self._is_class(part, own, func.env) for part in stored):
            return True
        names = [part for part in walk(func.node) if isinstance(part, ast.Name)]
        return any(
            self._changes(self._value(name, func.env)) for name in names if name.id not in own
        )

    def _is_class(self, target: ast.expr, own: set[str], env: Env) -> bool:
        """Whether something is stored into a class that is not the function's own."""
        if isinstance(getattr(target, "ctx", None), ast.Load):
            return False
        while isinstance(target, _STORED):
            target = target.value
        if not isinstance(target, ast.Name) or target.id in own:
            return False
        return isinstance(self._value(target, env), Class)

    def _value(self, name: ast.Name, env: Env) -> Any:
        try:
            return self.ev.names.lookup(name.id, env, name)
        except Raised:
            return None

    def _changes(self, value: Any) -> bool:
        """Whether who has a value, and calls it, may change something."""
        if isinstance(value, Alternatives):
            return any(map(self._changes, value.values))
        if isinstance(value, Func):
            return self.beyond(value)
        if isinstance(value, Class):
            made = self.ev.classes.attr(value, "__init__")
            return isinstance(made, Func) and self.beyond(made)
        return not isinstance(value, _AT_REST)


def reached_by(func: Func, env: Env) -> list[Any]:
    """What a function, and those that it calls, may change: the values of their variables."""
    found: list[Any] = []
    seen: set[int] = set()
    pending: list[tuple[Func, Env | None]] = [(func, env)]
    while pending:
        one, scope = pending.pop()
        if id(one.node) in seen:
            continue
        seen.add(id(one.node))
        for name in {part.id for part in walk(one.node) if isinstance(part, ast.Name)}:
            at = scope
            while at is not None and at.outer is not None and name not in at.vars:
                at = at.outer
            if at is None or at.outer is None:
                continue  # of the module
            value = at.vars[name]
            found.append(value)
            if isinstance(value, Func):
                pending.append((value, value.env))
    return found
