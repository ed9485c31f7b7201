"""Builtins that make, count and go through containers."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import BUILTINS, builtin
from fibcore.elaborate.python.values import (
    Args,
    Kwargs,
    Namespace,
    Native,
    Raised,
    Value,
    born,
    deep_unknown,
    mapped,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


@builtin("len")
def _len(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    def each(value: Any) -> Any:
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Value):
            return value.length(ev, place)
        if value is None or isinstance(value, (int, float)):
            kind = "NoneType" if value is None else "int" if isinstance(value, int) else "float"
            raise Raised("TypeError", f"object of type '{kind}' has no len()", place)
        items = ev.operators.items(value)
        if items is None:
            return len(value) if isinstance(value, bytes) else Unknown("a length", place)
        doubtful = next(
            (i for i in items if isinstance(i, Unknown) and i.kind is UnknownKind.ENTRY), None
        )
        return len(items) if doubtful is None else doubtful

    return mapped(args[0], each)


@builtin("range")
def _range(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    position = next((i for i, a in enumerate(args) if isinstance(a, Alternatives)), None)
    if position is not None:
        return mapped(
            args[position],
            lambda v: _range(ev, [*args[:position], v, *args[position + 1 :]], kwargs, place),
        )
    inner = deep_unknown(args)
    if inner is not None:
        return inner
    return ev.operators.apply(range, args, place)


def _container(name: str, kind: Any) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if not args:
            return born(kind())
        if isinstance(args[0], Unknown):
            return args[0]
        items = ev.operators.items(args[0])
        if items is None:
            return Unknown(f"{name} of something unknown", place)
        if kind in (set, frozenset):
            made = ev.operators.make_set(items, place)
            return made if isinstance(made, Unknown) else born(kind(made))
        return born(kind(items))

    BUILTINS[name] = Native(name, run)


for _name, _kind in {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}.items():
    _container(_name, _kind)


BUILTINS["iter"] = BUILTINS["list"]


@builtin("dict")
def _dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    result: dict[Any, Any] = born({})
    if args:
        source = args[0]
        if isinstance(source, Namespace):
            result.update(source.values)
        elif isinstance(source, dict):
            result.update(source)
        else:
            items = ev.operators.items(source)
            if items is None or not all(
                isinstance(i, (list, tuple)) and len(i) == 2 for i in items
            ):
                return Unknown("a dict of something unknown", place)
            result.update(dict(items))
    result.update(kwargs)
    return result


@builtin("enumerate")
def _enumerate(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.operators.items(args[0])
    start = args[1] if len(args) > 1 else kwargs.get("start", 0)
    if items is None or not isinstance(start, int):
        return Unknown("an enumeration of something unknown", place)
    add = ev.operators.apply
    rows = [(add(operator.add, [start, i], place), item) for i, item in enumerate(items)]
    return born(rows)


@builtin("zip")
def _zip(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    columns = [ev.operators.items(a) for a in args]
    known = [len(c) for c in columns if c is not None]
    if len(known) < len(columns):
        if not known or not ev.mode.forward:
            return Unknown("a zip of something unknown", place)
        # Modules and the parts of a tensor: there are as many as there are modules for them.
        part = Unknown("a part of something unknown", place)
        columns = [[part] * min(known) if c is None else c for c in columns]
    return born([tuple(row) for row in zip(*(c for c in columns if c is not None), strict=False)])


@builtin("reversed")
def _reversed(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.operators.items(args[0])
    return Unknown("something unknown reversed", place) if items is None else born(items[::-1])


@builtin("sorted")
def _sorted(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.operators.items(args[0])
    if items is None:
        return Unknown("something unknown sorted", place)
    return ev.plain.ordered(items, kwargs, place)


@builtin("map")
def _map(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    columns = [ev.operators.items(a) for a in args[1:]]
    if any(c is None for c in columns):
        return Unknown("a map over something unknown", place)
    rows = zip(*(c for c in columns if c is not None), strict=False)
    return born([ev.calls.call(args[0], list(row), {}, place) for row in rows])


@builtin("filter")
def _filter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.operators.items(args[1])
    if items is None:
        return Unknown("a filter over something unknown", place)
    kept: list[Any] = born([])
    for item in items:
        truth = ev.operators.truth(
            item if args[0] is None else ev.calls.call(args[0], [item], {}, place)
        )
        if truth is None:
            return Unknown("a filter that cannot be decided", place)
        if truth:
            kept.append(item)
    return kept


def _quantifier(name: str, stop: bool) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        items = ev.operators.items(args[0])
        if items is None:
            return Unknown(f"{name} of something unknown", place)
        undecided = False
        for item in items:
            truth = ev.operators.truth(item)
            if truth is stop:
                return stop
            undecided = undecided or truth is None
        return Unknown(f"{name} of something unknown", place) if undecided else not stop

    BUILTINS[name] = Native(name, run)


_quantifier("any", True)


_quantifier("all", False)


@builtin("next")
def _next(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.operators.items(args[0])
    if items is None:
        return Unknown("the next of something unknown", place)
    if items:
        return items[0]
    if len(args) > 1:
        return args[1]
    raise Raised("StopIteration", "", place)
