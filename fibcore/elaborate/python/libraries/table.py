"""The table of what is imitated of other packages, by dotted name.

A module of this folder imitates one library, and enters here what it knows of it. A name that
nobody entered stays an opaque name (`Ext`), and a call of it is `Unknown` or an opaque object.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator as Rounds
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.plain_types import is_plain
from fibcore.elaborate.python.values import Args, Kwargs, deep_unknown, drained, mapped
from fibcore.elaborate.python.values.iterators import Iterator
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

Imitation = Callable[["Evaluator", Args, Kwargs, "SourcePlace"], Any]
"""What stands in for a function."""
Family = Callable[["Evaluator", str, Args, Kwargs, "SourcePlace"], Any]
"""What stands in for all names of a prefix; ABSENT for a name that it does not know."""

CALLS: dict[str, Imitation] = {}
CONSTANTS: dict[str, Any] = {}
EMPTY_TABLES: set[str] = set()
"""Mappings that hold no keys."""
GENERICS: list[str] = []
"""Prefixes of names whose subscript is a type, and the type stands for itself."""
_FAMILIES: dict[str, list[tuple[str, Family]]] = {}


def imitates(*names: str) -> Callable[[Imitation], Imitation]:
    """Enter a function for the calls of these names."""

    def enter(fn: Imitation) -> Imitation:
        CALLS.update(dict.fromkeys(names, fn))
        return fn

    return enter


def imitates_all(*prefixes: str) -> Callable[[Family], Family]:
    """Enter a function for the calls of all names that begin with one of these."""

    def enter(fn: Family) -> Family:
        for prefix in prefixes:
            _FAMILIES.setdefault(prefix.partition(".")[0], []).append((prefix, fn))
        return fn

    return enter


def families(name: str) -> Rounds[Family]:
    """The functions for a name by its prefix, those of longer prefixes first."""
    known = _FAMILIES.get(name.partition(".")[0], ())
    fitting = [(prefix, fn) for prefix, fn in known if name.startswith(prefix)]
    for _, fn in sorted(fitting, key=lambda entry: -len(entry[0])):
        yield fn


def _drained(ev: Evaluator, value: Any) -> Any:
    """An argument; what an iterator has left, which a function goes through."""
    if not isinstance(value, Iterator):
        return value
    items = value.items(ev)
    return Unknown("unknown items") if items is None else items


def pure(fn: Callable[..., Any]) -> Imitation:
    """A function of plain values that is called as it is."""

    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if args and isinstance(args[0], Alternatives):
            return mapped(args[0], lambda v: run(ev, [v, *args[1:]], kwargs, place))
        args = [_drained(ev, arg) for arg in args]
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            return inner
        args = [drained(arg) for arg in args]
        if not is_plain(args) or not is_plain(kwargs):
            return Unknown(f"{fn.__name__} of an object", place)
        return ev.operators.apply(lambda *a: fn(*a, **kwargs), args, place)

    return run
