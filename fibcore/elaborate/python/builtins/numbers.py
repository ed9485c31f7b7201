"""Builtins of numbers and text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import BUILTINS, builtin
from fibcore.elaborate.python.limits import MAX_CONTAINER, too_large
from fibcore.elaborate.python.values import (
    Args,
    Class,
    EnumMember,
    Ext,
    Kwargs,
    Mod,
    Namespace,
    Native,
    Obj,
    Raised,
    Repeat,
    Tensor,
    deep_unknown,
    mapped,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


def _pure(name: str, fn: Callable[..., Any]) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if any(isinstance(a, Alternatives) for a in args):
            position = next(i for i, a in enumerate(args) if isinstance(a, Alternatives))
            return mapped(
                args[position],
                lambda v: run(ev, [*args[:position], v, *args[position + 1 :]], kwargs, place),
            )
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            return inner
        args = [
            list(ev.operators.items(a) or ()) if isinstance(a, (Mod, Class)) else a for a in args
        ]
        if any(isinstance(a, (Tensor, Namespace, Obj, Ext, Repeat)) for a in args):
            return Unknown(f"{name} of an object", place)
        first = args[0] if args else None
        huge = name == "bytes" and isinstance(first, int) and first > MAX_CONTAINER
        if huge or (name == "pow" and len(args) == 2 and too_large(ast.Pow, *args)):
            return Unknown("a value that is too large", place)
        if kwargs:
            return ev.operators.apply(lambda *a: fn(*a, **kwargs), args, place)
        return ev.operators.apply(fn, args, place)

    BUILTINS[name] = Native(name, run)


_PURE: dict[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "float": float, "bytes": bytes, "divmod": divmod,
    "pow": pow, "ord": ord, "chr": chr, "hex": hex, "bin": bin, "repr": repr, "format": format,
    "slice": slice, "hash": hash,
}  # fmt: skip


for _name, _fn in _PURE.items():
    _pure(_name, _fn)


@builtin("int")
def _int(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if args and isinstance(args[0], EnumMember):
        return args[0].value
    return ev.calls.call(_INT, args, kwargs, place)


_pure("int", int)


_INT = BUILTINS["int"]


BUILTINS["int"] = Native("int", _int)


def _extreme(name: str, fn: Callable[..., Any]) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        values = args
        if len(args) == 1:
            items = ev.operators.items(args[0])
            if items is None:
                return Unknown(f"{name} of something unknown", place)
            values = items
        inner = deep_unknown(values)
        if inner is not None:
            return inner
        if "key" in kwargs or not all(isinstance(v, (int, float, str)) for v in values):
            return Unknown(f"{name} of objects", place)
        if not values:
            if "default" in kwargs:
                return kwargs["default"]
            raise Raised("ValueError", f"{name} of nothing", place)
        return ev.operators.apply(lambda *v: fn(v), list(values), place)

    BUILTINS[name] = Native(name, run)


_extreme("max", max)


_extreme("min", min)


_extreme("sum", sum)


@builtin("str")
def _str(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not args:
        return ""
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("text of something unknown", place)
    if isinstance(value, EnumMember):
        return str(value.value)
    if isinstance(value, Ext):
        return value.name
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return ev.operators.apply(str, [value], place)
    return str(value)


@builtin("bool")
def _bool(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not args:
        return False
    truth = ev.operators.truth(args[0])
    return Unknown("the truth of something unknown", place) if truth is None else truth
