"""What can be reached from values, and from functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

from fibcore.elaborate.python.values import (
    Bound,
    Class,
    Env,
    Ext,
    Func,
    Mod,
    Native,
    Obj,
    Repeat,
    Value,
)
from fibcore.model.tree import Alternatives
from fibcore.syntax import walk

_SCALARS = (str, int, float, type(None))
"""What holds nothing: most of a config."""


def modules_within(values: Iterable[Any]) -> dict[int, Mod]:
    """The modules that somebody who is handed values gets at, by their ids."""
    found: dict[int, Mod] = {}
    seen: set[int] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, _SCALARS) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mod):
            found[id(value)] = value
        pending.extend(_parts(value))
    return found


def _parts(value: Any) -> Iterator[Any]:
    """What a value holds."""
    if isinstance(value, Alternatives):
        yield from value.values
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from value
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
