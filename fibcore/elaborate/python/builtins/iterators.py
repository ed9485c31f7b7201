"""Builtins that give iterators: nothing of what they go through is taken before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.builtins.table import builtin
from fibcore.elaborate.python.values import ABSENT, Args, Kwargs, Obj, Raised, is_open
from fibcore.elaborate.python.values.iterators import (
    ByMethod,
    Iterator,
    Positions,
    Pulling,
    Undecided,
    advanced,
    unsettled,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


def iterators(
    ev: Evaluator, values: Args, place: SourcePlace
) -> tuple[list[Iterator], Unknown | None]:
    """The iterators of values; or why one of them is not known."""
    found = [ev.iteration.iterator(value, place) for value in values]
    unknown = next((each for each in found if isinstance(each, Unknown)), None)
    return found, unknown


@builtin("iter")
def _iter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if len(args) == 1:
        return ev.iteration.iterator(args[0], place)
    call, sentinel = args

    def pull(ev: Evaluator, it: Pulling) -> Any:
        try:
            item = ev.calls.call(call, [], {}, place)
        except Raised as error:
            if error.kind == "StopIteration":
                return ABSENT
            raise
        same = ev.comparisons.same(item, sentinel, place)
        if same is None:
            raise Undecided(Unknown("whether a sentinel came", place))
        return ABSENT if same else item

    return Pulling("callable_iterator", pull, call)


@builtin("next")
def _next(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    iterator = args[0]
    if isinstance(iterator, Unknown):
        return iterator
    if isinstance(iterator, Alternatives):
        return ev.writes.mapped(iterator, lambda v: _next(ev, [v, *args[1:]], kwargs, place))
    if isinstance(iterator, Obj):
        following = iterator.method(ev, "__next__", place)
        if following is not ABSENT:
            iterator = ByMethod(following, place)
    if not isinstance(iterator, Iterator):
        if isinstance(iterator, plain.PLAIN):
            name = plain.kind_name(iterator)
            raise Raised("TypeError", f"{name!r} object is not an iterator", place)
        return Unknown("the next of something unknown", place)
    if len(args) == 1:
        if isinstance(iterator, ByMethod):
            return ev.calls.call(iterator.next, [], {}, place)
        return advanced(ev, iterator, place)
    try:
        item = iterator.take(ev)
    except Undecided as undecided:
        return undecided.reason
    return args[1] if item is ABSENT else item


@builtin("enumerate")
def _enumerate(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    start = args[1] if len(args) > 1 else kwargs.get("start", 0)
    (inner,), unknown = iterators(ev, args[:1], place)
    if unknown is not None:
        return unknown
    if not isinstance(start, int):
        why = Unknown("an enumeration from an unknown number", place)
        return why if ev.mode.forward else unsettled("enumerate", why, inner)

    def pull(ev: Evaluator, it: Pulling) -> Any:
        item = inner.take(ev)
        if item is ABSENT:
            return ABSENT
        count = it.at("count")
        it.keep(ev, "count", ev.operators.apply(lambda n: n + 1, [count], place))
        return (count, item)

    return Pulling("enumerate", pull, inner, count=start)


@builtin("zip")
def _zip(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    columns, unknown = iterators(ev, args, place)
    if unknown is not None:
        if not any(isinstance(c, Iterator) for c in columns):
            return unknown
        if not ev.mode.forward:
            return unsettled("zip", unknown, *columns)
        # Modules and the parts of a tensor: there are as many as there are modules for them.
        part = Unknown("a part of something unknown", place)
        parts = Pulling("iterator", lambda ev, it: part)
        columns = [c if isinstance(c, Iterator) else parts for c in columns]
    strict = ev.operators.truth(kwargs.get("strict", False))
    if strict is None:
        return unsettled("zip", Unknown("a zip that may be strict", place), *columns)

    def pull(ev: Evaluator, it: Pulling) -> Any:
        row = []
        for number, column in enumerate(columns):
            item = column.take(ev)
            if item is ABSENT:
                if strict:
                    _same_length(ev, columns, number, place)
                return ABSENT
            row.append(item)
        return tuple(row) if row else ABSENT

    return Pulling("zip", pull, *columns)


def _same_length(ev: Evaluator, columns: list[Iterator], ended: int, place: SourcePlace) -> None:
    if ended:
        raise Raised("ValueError", f"zip() argument {ended + 1} is shorter", place)
    for number, column in enumerate(columns[1:], 2):
        if column.take(ev) is not ABSENT:
            raise Raised("ValueError", f"zip() argument {number} is longer", place)


@builtin("map")
def _map(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if len(args) < 2:
        raise Raised("TypeError", "map() must have at least two arguments.", place)
    columns, unknown = iterators(ev, args[1:], place)
    if unknown is not None:
        return unknown if ev.mode.forward else unsettled("map", unknown, args[0], *columns)

    def pull(ev: Evaluator, it: Pulling) -> Any:
        row = []
        for column in columns:
            item = column.take(ev)
            if item is ABSENT:
                return ABSENT
            row.append(item)
        return ev.calls.call(args[0], row, {}, place)

    return Pulling("map", pull, args[0], *columns)


@builtin("filter")
def _filter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    (inner,), unknown = iterators(ev, args[1:2], place)
    if unknown is not None:
        return unknown if ev.mode.forward else unsettled("filter", unknown, args[0])

    def pull(ev: Evaluator, it: Pulling) -> Any:
        while (item := inner.take(ev)) is not ABSENT:
            ev.budget.step()
            kept = item if args[0] is None else ev.calls.call(args[0], [item], {}, place)
            truth = ev.operators.truth(kept)
            if truth is None:
                raise Undecided(Unknown("a filter that cannot be decided", place))
            if truth:
                return item
        return ABSENT

    return Pulling("filter", pull, args[0], inner)


@builtin("reversed")
def _reversed(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    if isinstance(value, Unknown):
        return value
    if is_open(value):
        return Unknown("something of unknown length reversed", place)
    if isinstance(value, (list, tuple, str, range, bytes)):
        ev.layers.pin(value)
        return Positions(value, "reversed", backwards=True)
    if isinstance(value, dict):
        return Positions(list(value), "dict_reversekeyiterator", backwards=True)
    if isinstance(value, Obj):
        made = value.special(ev, "__reversed__", [], place)
        if made is not ABSENT:
            return made
        by_key, length = (value.method(ev, n, place) for n in ("__getitem__", "__len__"))
        if by_key is ABSENT or length is ABSENT:
            items = value.items(ev)
            if items is not None:
                return Positions(items, "reversed", backwards=True)
            return Unknown("an object reversed", place)
        count = value.length(ev, place)
        if not isinstance(count, int):
            return Unknown("something unknown reversed", place)
        return Pulling("reversed", _downwards(by_key, place), by_key, at=count - 1)
    if isinstance(value, (set, frozenset, Iterator, int, float, type(None))):
        name = plain.kind_name(value)
        raise Raised("TypeError", f"{name!r} object is not reversible", place)
    return Unknown("something unknown reversed", place)


def _downwards(by_key: Any, place: SourcePlace) -> Any:
    def pull(ev: Evaluator, it: Pulling) -> Any:
        at = it.at("at")
        if at < 0:
            return ABSENT
        it.keep(ev, "at", at - 1)
        return ev.calls.call(by_key, [at], {}, place)

    return pull
