"""Builtins of numbers and text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import BUILTINS, builtin
from fibcore.elaborate.python.limits import MAX_CONTAINER, too_large
from fibcore.elaborate.python.plain_types import is_plain
from fibcore.elaborate.python.values import (
    Args,
    Class,
    EnumMember,
    Kwargs,
    Mod,
    Native,
    Raised,
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
        if not is_plain(args) or not is_plain(kwargs):
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
    "pow": pow, "ord": ord, "chr": chr, "hex": hex, "bin": bin,
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
    if not args and not kwargs:
        return ""
    if len(args) != 1 or kwargs:
        return Unknown("text of bytes", place)
    return ev.texts.text(args[0], place, "s")


@builtin("repr")
def _repr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return ev.texts.text(args[0], place, "r")


@builtin("ascii")
def _ascii(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return ev.texts.text(args[0], place, "a")


@builtin("format")
def _format(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    spec = args[1] if len(args) > 1 else ""
    if not isinstance(spec, str):
        return Unknown("text with an unknown format", place)
    return ev.texts.text(args[0], place, None, spec)


@builtin("slice")
def _slice(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return slice(*args) if 1 <= len(args) <= 3 else Unknown("a slice", place)


@builtin("hash")
def _hash(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    # The hash of anything else is another one in each process.
    if isinstance(args[0], (int, float)):
        return ev.operators.apply(hash, [args[0]], place)
    return Unknown("a hash", place)


@builtin("bool")
def _bool(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not args:
        return False
    truth = ev.operators.truth(args[0])
    return Unknown("the truth of something unknown", place) if truth is None else truth
