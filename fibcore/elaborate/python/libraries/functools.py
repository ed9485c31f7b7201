"""functools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import ABSENT, Args, Kwargs, Native, Partial, Raised
from fibcore.elaborate.python.values.iterators import Undecided
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("functools.partial")
def _partial(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Partial(args[0], tuple(args[1:]), dict(kwargs))


@imitates("functools.reduce")
def _reduce(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    rounds = ev.iteration.rounds(args[1], place)
    if rounds is None:
        return Unknown("a reduction of something unknown", place)
    total = args[2] if len(args) > 2 else ABSENT
    try:
        for item in rounds:
            total = item if total is ABSENT else ev.calls.call(args[0], [total, item], {}, place)
    except Undecided as undecided:
        return undecided.reason
    if total is ABSENT:
        raise Raised("TypeError", "reduce() of empty iterable with no initial value", place)
    return total


# Caches change nothing about what a function gives.
@imitates("functools.lru_cache", "functools.cache")
def identity(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A decorator that leaves its function as it is, with arguments of its own or without."""
    return args[0] if args else Native("identity", identity)


@imitates("functools.wraps")
def _wraps(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Native("wraps", identity)
