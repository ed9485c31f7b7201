"""functools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Kwargs, Native, Partial, Raised
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


import functools


@imitates("functools.partial")
def _partial(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Partial(args[0], tuple(args[1:]), dict(kwargs))


@imitates("functools.reduce")
def _reduce(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.operators.items(args[1])
    if items is None:
        return Unknown("a reduction of something unknown", place)
    values = [*args[2:3], *items]
    if not values:
        raise Raised("TypeError", "reduce of nothing", place)
    return functools.reduce(lambda a, b: ev.calls.call(args[0], [a, b], {}, place), values)


# Caches change nothing about what a function gives.
@imitates("functools.lru_cache", "functools.cache")
def identity(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A decorator that leaves its function as it is, with arguments of its own or without."""
    return args[0] if args else Native("identity", identity)


@imitates("functools.wraps")
def _wraps(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Native("wraps", identity)
