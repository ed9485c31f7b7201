"""itertools."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.iterators import iterators
from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.limits import MAX_CONTAINER
from fibcore.elaborate.python.values import ABSENT, Args, Kwargs, Raised
from fibcore.elaborate.python.values.iterators import (
    Iterator,
    Positions,
    Pulling,
    Undecided,
    unsettled,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


_MAX_WIDTH = 1024
"""Items of one of the tuples that are made."""


def _chained(name: str, outer: Iterator, place: SourcePlace) -> Pulling:
    """The items of the items of an iterator."""

    def pull(ev: Evaluator, it: Pulling) -> Any:
        while True:
            inner = it.state["inner"]
            if inner is None:
                following = outer.take(ev)
                if following is ABSENT:
                    return ABSENT
                inner = ev.iteration.iterator(following, place)
                if not isinstance(inner, Iterator):
                    raise Undecided(inner)
                it.keep(ev, "inner", inner)
            elif not isinstance(inner, Iterator):
                raise Undecided(Unknown("an iterator that one side of a branch advanced", place))
            item = inner.take(ev)
            if item is not ABSENT:
                return item
            it.keep(ev, "inner", None)

    return Pulling(name, pull, outer, inner=None)


@imitates("itertools.chain")
def _chain(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return _chained("chain", Positions(list(args), "tuple_iterator"), place)


@imitates("itertools.chain.from_iterable")
def _from_iterable(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    (outer,), unknown = iterators(ev, args[:1], place)
    return unknown if unknown is not None else _chained("chain", outer, place)


@imitates("itertools.count")
def _count(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    start = args[0] if args else kwargs.get("start", 0)
    step = args[1] if len(args) > 1 else kwargs.get("step", 1)
    if not isinstance(start, int) or not isinstance(step, int):
        return Unknown("a count of something else than integers", place)

    def pull(ev: Evaluator, it: Pulling) -> Any:
        at = it.at("at")
        it.keep(ev, "at", at + step)
        return at

    return Pulling("count", pull, at=start)


@imitates("itertools.repeat")
def _repeat(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    times = args[1] if len(args) > 1 else kwargs.get("times")
    if times is None:
        return Pulling("repeat", lambda ev, it: args[0])
    if not isinstance(times, int) or times > MAX_CONTAINER:
        return Unknown("something repeated an unknown number of times", place)
    ev.budget.spend(times >> 4, "itertools.repeat")
    return Positions([args[0]] * times, "repeat")


@imitates("itertools.islice")
def _islice(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    (inner,), unknown = iterators(ev, args[:1], place)
    if unknown is not None:
        return unknown
    bounds = slice(*args[1:4])
    start, stop, step = bounds.start or 0, bounds.stop, bounds.step or 1
    given = [bound for bound in args[1:4] if bound is not None]
    if any(isinstance(bound, (Unknown, Alternatives)) for bound in given):
        return unsettled("islice", Unknown("a slice with unknown bounds", place), inner)
    if not all(isinstance(n, int) and n >= 0 for n in given) or args[3:4] == [0]:
        raise Raised("ValueError", "islice() takes None or integers from 0 up", place)

    def pull(ev: Evaluator, it: Pulling) -> Any:
        wanted, at = it.at("wanted"), it.at("at")
        if stop is not None and wanted >= stop:
            while at < stop:
                at += 1
                it.keep(ev, "at", at)
                if inner.take(ev) is ABSENT:
                    break
            return ABSENT
        while at < wanted:
            at += 1
            it.keep(ev, "at", at)
            if inner.take(ev) is ABSENT:
                return ABSENT
        it.keep(ev, "at", at + 1)
        it.keep(ev, "wanted", wanted + step)
        return inner.take(ev)

    return Pulling("islice", pull, inner, wanted=start, at=0)


@imitates("itertools.starmap")
def _starmap(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    (inner,), unknown = iterators(ev, args[1:2], place)
    if unknown is not None:
        return unknown if ev.mode.forward else unsettled("starmap", unknown, args[0])

    def pull(ev: Evaluator, it: Pulling) -> Any:
        item = inner.take(ev)
        if item is ABSENT:
            return ABSENT
        row = None if isinstance(item, Unknown) else ev.iteration.items(item)
        if row is None:
            raise Undecided(Unknown("unknown arguments", place))
        return ev.calls.call(args[0], row, {}, place)

    return Pulling("starmap", pull, args[0], inner)


def _while(name: str, *, take: bool) -> None:
    @imitates(f"itertools.{name}")
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        (inner,), unknown = iterators(ev, args[1:2], place)
        if unknown is not None:
            return unknown if ev.mode.forward else unsettled(name, unknown, args[0])

        def pull(ev: Evaluator, it: Pulling) -> Any:
            while (item := inner.take(ev)) is not ABSENT:
                if it.has("free"):
                    return item
                truth = ev.operators.truth(ev.calls.call(args[0], [item], {}, place))
                if truth is None:
                    raise Undecided(Unknown(f"{name} of something unknown", place))
                if take:
                    return item if truth else ABSENT
                if not truth:
                    it.keep(ev, "free", True)
                    return item
            return ABSENT

        return Pulling(name, pull, args[0], inner)


_while("takewhile", take=True)
_while("dropwhile", take=False)


@imitates("itertools.accumulate")
def _accumulate(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:

    (inner,), unknown = iterators(ev, args[:1], place)
    func = args[1] if len(args) > 1 else kwargs.get("func")
    if unknown is not None:
        return unknown if ev.mode.forward else unsettled("accumulate", unknown, func)
    initial = kwargs.get("initial")

    def pull(ev: Evaluator, it: Pulling) -> Any:
        total = it.state["total"]
        if total is ABSENT and initial is not None:
            it.keep(ev, "total", initial)
            return initial
        item = inner.take(ev)
        if item is ABSENT:
            return ABSENT
        if isinstance(total, Alternatives):
            raise Undecided(Unknown("an iterator that one side of a branch advanced", place))
        if total is not ABSENT:
            if func is None:
                item = ev.operators.combine(ast.Add, total, item, place)
            else:
                item = ev.calls.call(func, [total, item], {}, place)
        it.keep(ev, "total", item)
        return item

    return Pulling("accumulate", pull, inner, func, total=ABSENT)


@imitates("itertools.zip_longest")
def _zip_longest(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    columns, unknown = iterators(ev, args, place)
    if unknown is not None:
        return unknown if ev.mode.forward else unsettled("zip_longest", unknown, *columns)

    def pull(ev: Evaluator, it: Pulling) -> Any:
        row = [column.take(ev) for column in columns]
        if all(item is ABSENT for item in row):
            return ABSENT
        return tuple(kwargs.get("fillvalue") if item is ABSENT else item for item in row)

    return Pulling("zip_longest", pull, *columns)


def _pooled(name: str, fn: Callable[..., Any]) -> None:
    """A function that takes all items of its arguments before it gives the first."""

    @imitates(f"itertools.{name}")
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        pools, rest = (args, []) if name == "product" else (args[:1], args[1:])
        known = [None if isinstance(p, Unknown) else ev.iteration.items(p) for p in pools]
        numbers = [*rest, *kwargs.values()]
        if None in known or not all(isinstance(n, (int, type(None))) for n in numbers):
            return Unknown(f"{name} of something unknown", place)
        if any(isinstance(n, int) and n > _MAX_WIDTH for n in numbers) or len(pools) > _MAX_WIDTH:
            return Unknown(f"{name} of too many items", place)
        made = fn(*known, *rest, **kwargs)
        # Without a number, permutations are as wide as what they are of.
        width = max(len(pools), *(n for n in numbers if n), 1)
        if name == "permutations" and not any(numbers):
            width = max(len(known[0] or ()), 1)
        found = []
        for item in itertools.islice(made, MAX_CONTAINER // width):
            ev.budget.spend(1 + (width >> 3), f"itertools.{name}")
            found.append(item)
        if len(found) == MAX_CONTAINER // width:
            return Unknown(f"{name} of too many items", place)
        return Positions(found, name)


for _name in ("product", "permutations", "combinations", "combinations_with_replacement"):
    _pooled(_name, getattr(itertools, _name))

_pooled("pairwise", itertools.pairwise)
