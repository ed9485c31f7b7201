"""Builtins of numbers and text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python import limits
from fibcore.elaborate.python.builtins.table import BUILTINS, builtin, enter
from fibcore.elaborate.python.plain_types import is_plain
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Func,
    Kwargs,
    Mod,
    Obj,
    Raised,
    deep_unknown,
    drained,
    mapped,
    plain_of,
)
from fibcore.elaborate.python.values.iterators import Iterator, Undecided
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
            ev.exceptions.may_raise(place, "TypeError", "ValueError", "ZeroDivisionError")
            return inner
        args = [drained(plain_of(a)) for a in args]
        if args and isinstance(args[0], Obj) and name in _ASKED:
            return _asked(ev, name, args, place)
        args = [
            list(ev.operators.items(a) or ()) if isinstance(a, (Mod, Class)) else a for a in args
        ]
        if not is_plain(args) or not is_plain(kwargs):
            return _refused(ev, name, args, place)
        if kwargs:
            return ev.operators.apply(lambda *a: fn(*a, **kwargs), args, place)
        return ev.operators.apply(fn, args, place)

    enter(name, run)


_ASKED = {
    "abs": ("__abs__",), "round": ("__round__",), "float": ("__float__", "__index__"),
    "int": ("__int__", "__index__", "__trunc__"), "bytes": ("__bytes__", "__index__"),
    "complex": ("__complex__", "__float__", "__index__"),
    "hex": ("__index__",), "bin": ("__index__",), "oct": ("__index__",), "chr": ("__index__",),
    "divmod": ("__divmod__",), "pow": ("__pow__",), "ord": (),
}  # fmt: skip
"""The special methods that a builtin asks an object for."""
_REFLECTED = {"divmod": ("__rdivmod__",), "pow": ("__rpow__", "__index__")}
"""Those that it asks an argument behind the first one for."""


def _refused(ev: Evaluator, name: str, args: Args, place: SourcePlace) -> Any:
    """A function of numbers that is given objects which have no method for it: a TypeError."""
    for position, arg in enumerate(args):
        asked = _ASKED.get(name, ()) if position == 0 else _REFLECTED.get(name, ("__index__",))
        no_number = isinstance(arg, (Func, Iterator)) or is_plain(arg)
        if not no_number and not (isinstance(arg, Obj) and all(arg.lacks(ev, n) for n in asked)):
            return Unknown(f"{name} of an object", place)
    raise Raised("TypeError", f"{name}() of something that is no number", place)


def _check_byte(item: Any, place: SourcePlace) -> None:
    if is_plain(item) and not isinstance(item, int):
        raise Raised("TypeError", "an item of bytes that is no integer", place)


def _asked(ev: Evaluator, name: str, args: Args, place: SourcePlace) -> Any:
    for method in _ASKED[name]:
        found = ev.special_methods.of(args[0], method, args[1:], place)
        if found is not ABSENT:
            _check_answer(name, method, found, place)
            goes_on = method == "__index__" and name != "int"
            return ev.calls.call(BUILTINS[name], [found], {}, place) if goes_on else found
    if name == "bytes" and len(args) == 1:
        items = ev.iteration.each(args[0], lambda item: _check_byte(item, place))
        why = Unknown("bytes of an object", place)
        return why if items is None else ev.calls.call(BUILTINS[name], [items], {}, place)
    if len(args) == 1 and all(args[0].lacks(ev, method) for method in _ASKED[name]):
        raise Raised("TypeError", f"{name}() of {args[0].class_name!r} object", place)
    return Unknown(f"{name} of an object", place)


_ANSWERS: dict[str, tuple[type, ...]] = {
    "__int__": (int,), "__index__": (int,), "__float__": (float,), "__bytes__": (bytes,),
    "__complex__": (complex,),
}  # fmt: skip
"""What special methods have to give."""


def _check_answer(name: str, method: str, found: Any, place: SourcePlace) -> None:
    """Raise for an answer of a special method that is of another type."""
    wanted = _ANSWERS.get(method)
    if wanted and is_plain(found) and not isinstance(found, wanted):
        raise Raised("TypeError", f"{name}(): {method} returned another type", place)


_PURE: dict[str, Callable[..., Any]] = {
    "int": limits.whole, "abs": abs, "round": limits.rounded, "float": float, "oct": oct,
    "complex": complex,
    "bytes": limits.make_bytes, "divmod": divmod,
    "pow": limits.power, "ord": ord, "chr": chr, "hex": hex, "bin": bin,
}  # fmt: skip


for _name, _fn in _PURE.items():
    _pure(_name, _fn)


def _any_extreme(ev: Evaluator, name: str, kwargs: Kwargs, place: SourcePlace) -> Unknown:
    """The extreme of items that are not known, for any number of which the key is asked."""
    unknown = Unknown(f"{name} of something unknown", place)
    ev.unfollowed.handed([kwargs.get("key")], unknown)
    return unknown


def _extreme(name: str, fn: Callable[..., Any]) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if not set(kwargs) <= {"key", "default"}:
            raise Raised("TypeError", f"{name}() got another keyword", place)
        values: Any = args
        if len(args) == 1 and isinstance(args[0], Obj):
            args = [ev.iteration.iterator(args[0], place)]
        if len(args) == 1 and isinstance(args[0], Iterator):
            values = args[0]
        elif len(args) == 1:
            keyed = kwargs.get("key") is not None
            known = not isinstance(args[0], (Unknown, Alternatives))
            items = ev.iteration.items(args[0], ordered=keyed) if known else None
            if items is None:
                return _any_extreme(ev, name, kwargs, place)
            values = items
        elif not args or "default" in kwargs:
            raise Raised("TypeError", f"{name}() takes other arguments", place)
        try:
            found = ev.ordering.extreme(name, fn, values, kwargs.get("key"), place)
        except Undecided:
            return _any_extreme(ev, name, kwargs, place)
        if found is not ABSENT:
            return found
        if "default" in kwargs:
            return kwargs["default"]
        raise Raised("ValueError", f"{name}() of nothing", place)

    enter(name, run)


_extreme("max", max)


_extreme("min", min)


def _check_addend(start: Any, item: Any, place: SourcePlace) -> None:
    """Refuse plain data that cannot be added to what `sum` starts with."""
    kinds = next((k for k in (complex, list, tuple) if isinstance(start, k)), (int, float))
    numbers = (int, float, complex)
    expected = numbers if isinstance(start, numbers) else kinds
    if is_plain([start, item]) and not isinstance(item, expected):
        raise Raised("TypeError", "unsupported operand types for +", place)


@builtin("sum")
def _sum(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    start = args[1] if len(args) > 1 else kwargs.get("start", 0)
    given = ev.iteration.iterator(args[0], place) if isinstance(args[0], Obj) else args[0]
    if isinstance(given, Iterator):
        return _sum_in_turn(ev, start, given, place)
    known = not isinstance(given, (Unknown, Alternatives))
    items = ev.iteration.items(given, ordered=False) if known else None
    if items is None:
        return Unknown("sum of something unknown", place)
    if isinstance(given, (set, frozenset)) and not all(isinstance(i, int) for i in items):
        items = ev.iteration.items(given)  # sums of floats depend on the order
        if items is None:
            return Unknown("sum of a set", place)
    return _total(ev, start, items, place)


def _sum_in_turn(ev: Evaluator, start: Any, given: Iterator, place: SourcePlace) -> Any:
    """The sum of an iterator: each item is added before the next one is asked for."""
    total, plain = start, []

    def add(item: Any) -> None:
        nonlocal total
        if is_plain([total, item]):
            _check_addend(total, item, place)
            plain.append(item)  # together, as sums of floats are exact since Python 3.12
            return
        total = _total(ev, _total(ev, total, plain, place), [item], place)
        plain.clear()

    if ev.iteration.each(given, add) is None:
        return Unknown("sum of something unknown", place)
    return _total(ev, total, plain, place)


def _total(ev: Evaluator, start: Any, items: list[Any], place: SourcePlace) -> Any:
    if isinstance(start, (str, bytes)):
        raise Raised("TypeError", "sum() can't sum strings [use ''.join(seq) instead]", place)
    inner = deep_unknown([start, *items], 1)
    if inner is not None:
        return inner
    if all(isinstance(v, (int, float)) for v in (start, *items)):
        return ev.operators.apply(lambda *v: sum(v[1:], v[0]), [start, *items], place)
    total = start
    for item in items:
        total = ev.operators.combine(ast.Add, total, item, place)
    return total


@builtin("str")
def _str(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not args and not kwargs:
        return ""
    if len(args) > 1 and not isinstance(args[0], (bytes, Unknown, Alternatives)):
        raise Raised("TypeError", "decoding to str of something that is no bytes", place)
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
    if not isinstance(args[0], (Unknown, Alternatives)):
        ev.operators.check_key(args[0], place)
        ev.special_methods.key((), args[0], place)  # raises for an object that has none
    return Unknown("a hash", place)


@builtin("bool")
def _bool(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not args:
        return False
    truth = ev.operators.truth(args[0])
    return Unknown.truth("the truth of something unknown", place) if truth is None else truth
