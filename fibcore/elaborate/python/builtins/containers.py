"""Builtins that make and count containers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import builtin, enter
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Kwargs,
    Namespace,
    Obj,
    Raised,
    Value,
    born,
    deep_unknown,
    hashable,
    is_open,
    mapped,
    plain_of,
)
from fibcore.elaborate.python.values.dicts import ClassNames
from fibcore.elaborate.python.values.iterators import Iterator, Undecided
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_MAX_DOUBTS = 8
"""Items of an iterator that may be the last one, before nothing is known of the rest."""


@builtin("len")
def _len(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    def each(value: Any) -> Any:
        if isinstance(value, Unknown):
            return value.as_plain()
        if isinstance(value, Value):
            return value.length(ev, place)
        if value is None or isinstance(value, (int, float)):
            kind = "NoneType" if value is None else "int" if isinstance(value, int) else "float"
            raise Raised("TypeError", f"object of type '{kind}' has no len()", place)
        if isinstance(value, (range, str)):
            return ev.operators.apply(len, [value], place)
        if is_open(value) or type(value) is ClassNames:
            return Unknown.plain("the length of something that may hold more", place)
        if isinstance(value, (dict, set, frozenset)):
            return Unknown.plain("a length", place) if is_open(value) else len(value)
        items = ev.iteration.items(value, ordered=False)
        if items is None:
            return Unknown.plain("a length", place)
        return len(items)

    return ev.writes.mapped(args[0], each)


def _index(ev: Evaluator, value: Any, place: SourcePlace) -> Any:
    """A number, or an object that says which one it is."""
    if isinstance(value, Obj) and value.method(ev, "__index__", place) is not ABSENT:
        return ev.special_methods.index(value, place)
    return value


@builtin("range")
def _range(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    position = next((i for i, a in enumerate(args) if isinstance(a, Alternatives)), None)
    if position is not None:
        return mapped(
            args[position],
            lambda v: _range(ev, [*args[:position], v, *args[position + 1 :]], kwargs, place),
        )
    args = [_index(ev, plain_of(arg), place) for arg in args]
    inner = deep_unknown(args)
    if inner is not None:
        return inner
    return ev.operators.apply(range, args, place)


def _check_item(item: Any, place: SourcePlace) -> None:
    if not hashable(item):
        raise Raised("TypeError", "unhashable item of a set", place)


def _container(name: str, kind: Any) -> None:
    ordered = kind in (list, tuple)

    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if kwargs or len(args) > 1:
            raise Raised("TypeError", f"{name}() takes at most one positional argument", place)
        if not args:
            return born(kind())
        if isinstance(args[0], Unknown):
            return args[0]
        if type(args[0]) is ClassNames:
            return Unknown("the names that Python adds to a class", place)
        if kind in (set, frozenset) and isinstance(args[0], Iterator):
            items = ev.iteration.each(args[0], lambda item: _check_item(item, place))
        else:
            items = ev.iteration.items(args[0], ordered=ordered)
        if items is None:
            return Unknown(f"{name} of something unknown", place)
        if kind in (set, frozenset):
            made = ev.operators.make_set(items, place)
            return made if isinstance(made, Unknown) else born(kind(made))
        return born(kind(items))

    enter(name, run)


for _name, _kind in {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}.items():
    _container(_name, _kind)


@builtin("dict")
def _dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    result: dict[Any, Any] = born({})
    if args:
        source = args[0]
        if isinstance(source, Namespace):
            result.update(source.values)
        elif isinstance(source, dict):
            ev.budget.spend(len(source), "a dict")
            result.update(source)
        else:
            pairs = None if isinstance(source, Unknown) else ev.plain.pairs(source, place, [])
            if pairs is None:
                return Unknown("a dict of something unknown", place)
            for key, item in pairs:  # those of equal hashes take a square of time
                ev.budget.step()
                result[key] = item
    result.update(kwargs)
    return result


@builtin("sorted")
def _sorted(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    known = not isinstance(args[0], (Unknown, ClassNames))
    items = ev.iteration.items(args[0], ordered=False) if known else None
    if items is None:
        unknown = Unknown("something unknown sorted", place)
        ev.unfollowed.handed(kwargs.values(), unknown)
        return unknown
    if kwargs.get("key") is not None and isinstance(args[0], (set, frozenset)):
        # Items with equal keys stay in the order of the set.
        items = ev.iteration.items(args[0])
        if items is None:
            unknown = Unknown("a set sorted by a key", place)
            ev.unfollowed.handed(kwargs.values(), unknown)
            return unknown
    return ev.ordering.sorted(items, kwargs.get("key"), kwargs.get("reverse", False), place)


def _quantifier(name: str, stop: bool) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if isinstance(args[0], Alternatives):
            return ev.writes.mapped(args[0], lambda value: run(ev, [value], kwargs, place))
        if isinstance(args[0], (set, frozenset)):
            rounds: Any = iter(args[0])
        else:
            rounds = ev.iteration.rounds(args[0], place)
        unknown = Unknown.truth(f"{name} of something unknown", place)
        if rounds is None:
            return unknown
        if isinstance(args[0], Iterator) and not args[0].is_quiet():
            return _asked_in_turn(ev, args[0], stop, unknown)
        undecided = False
        try:
            for item in rounds:
                truth = ev.operators.truth(item)
                if truth is stop:
                    return stop
                undecided = undecided or truth is None
        except Undecided:
            return unknown
        return unknown if undecided else not stop

    enter(name, run)


def _asked_in_turn(
    ev: Evaluator, items: Iterator, stop: bool, unknown: Unknown, doubts: int = 0
) -> Any:
    """`any` or `all` of an iterator.

    Behind an item that may have been the last one to be asked for, nothing may happen at all.
    """
    try:
        while (item := items.take(ev)) is not ABSENT:
            truth = ev.operators.truth(item)
            if truth is stop:
                return stop
            if truth is not None:
                continue
            if doubts == _MAX_DOUBTS:
                items.take_any(ev, unknown)
                return unknown
            rest = partial(_asked_in_turn, ev, items, stop, unknown, doubts + 1)
            return stop if ev.writes.choose([rest, lambda: stop], unknown) is stop else unknown
    except Undecided:
        return unknown
    return not stop


_quantifier("any", True)


_quantifier("all", False)
