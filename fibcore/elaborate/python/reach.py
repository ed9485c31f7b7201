"""Which modules can be reached from values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fibcore.elaborate.python.values import (
    Bound,
    Class,
    Ext,
    Func,
    Mod,
    Native,
    Obj,
    Repeat,
    Value,
)
from fibcore.model.tree import Alternatives


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
