"""functools."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Ext,
    Func,
    Kwargs,
    Method,
    Native,
    Partial,
    Raised,
    Value,
)
from fibcore.elaborate.python.values.iterators import Undecided
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("functools.cmp_to_key")
def _key_of(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    unknown = Unknown("an order by a function that compares", place)
    return Native("cmp_to_key", partial(_unfollowed, [*args, *kwargs.values()], unknown))


@imitates("functools.singledispatch", "functools.singledispatchmethod")
def _single_dispatch(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Dispatching("singledispatch", args[:1], place)


class Dispatching(Method):
    """A function that dispatches by the class of its argument: any of several is called.

    Attributes:
        functions: The functions that it may call.
        place: Where it was made.
    """

    __slots__ = ("functions", "place")

    def __init__(self, name: str, functions: Args, place: SourcePlace) -> None:
        why = Unknown("a function that dispatches by the class of its argument", place)
        super().__init__(name, partial(_unfollowed, functions, why))
        self.functions = functions
        self.place = place

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name == "register":
            return Native(name, self._register)
        return Unknown.attribute(f"{name} of a function that dispatches", place)

    def _register(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        functions = [v for v in (*args, *kwargs.values()) if isinstance(v, Func)]
        if not functions:  # of a class, it is a decorator
            return Native("register", self._register)
        ev.writes.changing(self.functions)
        self.functions += functions
        return functions[0]


def _unfollowed(
    functions: Args, why: Unknown, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace
) -> Unknown:
    """A call of one of several functions, it is not known which or with what."""
    ev.unfollowed.handed(functions, why)
    ev.doubts.hand_over((*args, *kwargs.values()), why)
    return why


@imitates("functools.partial")
def _partial(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    func = args[0]
    if isinstance(func, Partial):  # one of one is one
        return Partial(func.func, (*func.args, *args[1:]), {**func.kwargs, **kwargs})
    return Partial(func, tuple(args[1:]), dict(kwargs))


@imitates("functools.reduce")
def _reduce(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    rounds = ev.iteration.rounds(args[1], place)
    if rounds is None:
        unknown = Unknown("a reduction of something unknown", place)
        ev.unfollowed.handed([args[0]], unknown)
        return unknown
    total = args[2] if len(args) > 2 else ABSENT
    try:
        for item in rounds:
            total = item if total is ABSENT else ev.calls.call(args[0], [total, item], {}, place)
    except Undecided as undecided:
        ev.unfollowed.handed([args[0]], undecided.reason)
        return undecided.reason
    if total is ABSENT:
        raise Raised("TypeError", "reduce() of empty iterable with no initial value", place)
    return total


@imitates("functools.lru_cache", "functools.cache")
def _cache(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if args and isinstance(args[0], Func):
        return _remembering(args[0])
    if args and isinstance(args[0], Value):
        return args[0]
    return Native("lru_cache", lambda ev, args, kwargs, place: _cache(ev, args[:1], {}, place))


def _remembering(func: Func) -> Func:
    made = func.of_kind(func.kind)
    made.cache, made.only = [], {}
    return made


def identity(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A decorator that leaves its function as it is, with arguments of its own or without."""
    return args[0] if args else Native("identity", identity)


@imitates("functools.wraps")
def _wraps(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    wrapped = args[0] if args else None

    def update(ev: Evaluator, given: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        wrapper = given[0] if given else None
        if isinstance(wrapper, Func) and wrapped is not None:
            for name in ("__name__", "__qualname__", "__doc__", "__module__"):
                found = ev.attributes.find(wrapped, name, place)
                if found is not ABSENT:
                    wrapper.attrs[name] = found
            wrapper.attrs["__wrapped__"] = wrapped
        return wrapper

    return Native("wraps", update)


@imitates("functools.total_ordering")
def _total_ordering(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """A class with the comparisons that it lacks."""
    cls = args[0]
    if not isinstance(cls, Class):
        return Unknown("an ordering of something that is no class", place)
    own = [n for n in _ORDER if ev.classes.attr(cls, n) is not ABSENT]
    if not own:
        raise Raised("ValueError", "a class with no ordering operation", place)
    root = own[0] if "__lt__" not in own else "__lt__"
    for name in _ORDER:
        if name not in own:
            cls.attrs[name] = Method(name, _derived(root, name))
    return cls


_ORDER = ("__lt__", "__gt__", "__le__", "__ge__")


def _derived(root: str, name: str) -> Any:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        left, right = args
        if root != "__lt__":
            return Unknown("an ordering that is derived from another one", place)
        less = ev.special_methods.of(left, root, [right], place)
        if less is ABSENT:
            return Ext("NotImplemented")
        truth = ev.operators.truth(less)
        equal = ev.operators.truth(ev.comparisons.equal(left, right, place))
        if truth is None or equal is None:
            return Unknown("an ordering that is not known", place)
        results = {"__gt__": not truth and not equal, "__le__": truth or equal, "__ge__": not truth}
        return results[name]

    return run
