"""Plain Python data: numbers, strings and containers, which stand for themselves.

They cannot carry operations of ours, so what Python does with them is here, in one place.
"""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.limits import MAX_CONTAINER, too_large
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Kwargs,
    Namespace,
    Native,
    Raised,
    Value,
    bound,
    deep_unknown,
    depending,
    hashable,
    index_fn,
    is_scalar,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, origins_of

PLAIN = (int, float, str, bytes, bool, type(None), list, tuple, dict, set, frozenset, range, slice)
_MUTATING = {
    "append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove",
    "discard", "clear", "sort", "reverse", "appendleft", "popleft",
}  # fmt: skip


def kind_name(value: Any) -> str:
    """What messages about the kind of a value call it."""
    return value.kind_name if isinstance(value, Value) else type(value).__name__


def shown(value: Any) -> str:
    """What messages call a value."""
    return value.shown if isinstance(value, Value) else type(value).__name__


def not_callable(value: Any, place: SourcePlace) -> Any:
    """What a call of plain data gives."""
    if callable(value) or value is None or isinstance(value, (int, str, list, dict, tuple)):
        raise Raised("TypeError", f"{type(value).__name__} is not callable", place)
    return Unknown(f"a call of {type(value).__name__}", place)


class Plain(Part):
    """Attributes and methods of plain data."""

    def attribute(self, value: Any, name: str) -> Any:
        """`value.name`, or ABSENT."""
        if value is None or not hasattr(value, name):
            return ABSENT
        attribute = getattr(value, name)
        if not callable(attribute):
            return attribute
        return Native(
            f"{type(value).__name__}.{name}",
            lambda ev, args, kwargs, at: ev.plain.method(value, name, args, kwargs, at),
        )

    def method(self, value: Any, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """Call a method of a string, number or container."""
        if name in _MUTATING and isinstance(value, (list, dict, set)):
            return self._mutate(value, name, args, kwargs, place)
        if isinstance(value, dict) and name in ("get", "items", "keys", "values", "copy"):
            return self._dict_method(value, name, args, kwargs, place)
        if isinstance(value, list) and name == "copy":
            return list(value)
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            return inner
        if isinstance(value, (str, bytes)) and any(
            isinstance(a, int) and a > MAX_CONTAINER for a in args
        ):
            return Unknown("text that is too long", place)
        if name == "format" and isinstance(value, str):
            if too_large(ast.Mod, value, None):
                return Unknown("text that is too long", place)
            args = [a if isinstance(a, (int, float, str)) else str(a) for a in args]
        apply = self.ev.operators.apply
        if not kwargs:
            return apply(lambda this, *rest: getattr(this, name)(*rest), [value, *args], place)
        names = list(kwargs)

        # Keyword arguments as positional ones, so that what they depend on is followed too.
        def with_names(this: Any, *rest: Any) -> Any:
            positional = rest[: len(rest) - len(names)]
            named = dict(zip(names, rest[len(positional) :], strict=False))
            return getattr(this, name)(*positional, **named)

        return apply(with_names, [value, *args, *kwargs.values()], place)

    def _dict_method(
        self, value: dict[Any, Any], name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        if name == "copy":
            return dict(value)
        if name == "items":
            return [tuple(i) for i in value.items()]
        if name != "get":
            return list(getattr(value, name)())
        key = args[0]
        if isinstance(key, (Unknown, Alternatives)):
            return Unknown("a look-up of something unknown", place)
        if not hashable(key):
            return Unknown("a look-up of something unhashable", place)
        return self._get(value, key, args[1] if len(args) > 1 else kwargs.get("default"))

    def _get(self, value: dict[Any, Any], key: Any, default: Any) -> Any:
        """`value.get(key, default)`."""
        found = value.get(key, default)
        fn = index_fn(key)
        if fn is not None:
            guard = self.ev.layers.guard
            if is_scalar(found):
                kind = str if isinstance(found, str) else (int, float)
                guard(lambda i: isinstance(value.get(fn(i), default), kind), True)
                return depending(found, lambda i: value.get(fn(i), default), origins_of(found))
            guard(lambda i: value.get(fn(i), default) is found, True)
        return bound(found, default)

    def _mutate(self, value: Any, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """A method that changes a container; branches have to be able to take it back."""
        if isinstance(value, dict):
            if name == "update":
                self._update(value, args, kwargs)
                return None
            if isinstance(args[0] if args else None, (Unknown, Alternatives)):
                return Unknown("a dict changed under an unknown key", place)
            if name == "setdefault":
                self.ev.layers.pin(args[0])
                if args[0] not in value:
                    self.ev.writes.put(value, args[0], args[1] if len(args) > 1 else None)
                return value[args[0]]
        if name in ("extend", "update"):
            items = self.ev.operators.items(args[0])
            args = [items if items is not None else [Unknown("unknown items", place)]]
        if name not in ("append", "extend"):
            for arg in args:  # keys and positions
                self.ev.layers.pin(arg)
        self.ev.writes.changing(value)
        if isinstance(value, set) and deep_unknown(args) is not None:
            return Unknown("a set changed by something unknown", place)
        if name == "sort":
            # The order by a key of the source's own is not followed.
            kwargs = {k: v for k, v in kwargs.items() if k == "reverse"}
            if deep_unknown(value) is not None:
                return None
        try:
            return getattr(value, name)(*args, **kwargs)
        except (LookupError, TypeError, ValueError) as error:
            raise Raised(type(error).__name__, str(error), place) from None

    def _update(self, value: dict[Any, Any], args: Args, kwargs: Kwargs) -> None:
        for other in (*args, kwargs):
            given = other.values if isinstance(other, Namespace) else other
            if isinstance(given, dict):
                for key, item in given.items():
                    self.ev.writes.put(value, key, item)
