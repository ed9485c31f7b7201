"""What `*value` gives a call, where the value is one of several or its length is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from fibcore.elaborate.python.values import ABSENT, Args, Bound, Func, Kwargs, merge
from fibcore.model.tree import Alternatives, Unknown


@attrs.frozen(eq=False)
class Several:
    """The items that a starred argument may have, in the place of those that it has."""

    rows: list[list[Any]]


def is_several(value: Any) -> bool:
    """Whether it stands for the items of one of several sequences."""
    return isinstance(value, Several)


def spread(args: Args) -> list[Args]:
    """The arguments, once for each of the sequences that one of them may be unpacked from."""
    for at, value in enumerate(args):
        if type(value) is Several:
            return [[*args[:at], *row, *args[at + 1 :]] for row in value.rows]
    return [args]


def rows(value: Alternatives, items: Callable[[Any], list[Any] | None]) -> list[list[Any]] | None:
    """The items of each alternative that has some; None where those of one are not known.

    Args:
        value: The alternatives. None is no sequence: of it the call raises.
        items: The items of a value, None where they are not known.
    """
    found = [items(v) for v in value.values if v is not None and v is not ABSENT]
    known = [row for row in found if row is not None]
    return known if known and len(known) == len(found) else None


def columns(several: list[list[Any]]) -> list[Any] | None:
    """Several sequences of one length, item by item; None where lengths differ."""
    if any(len(row) != len(several[0]) for row in several):
        return None
    return [merge(column) for column in zip(*several, strict=True)]


def filled(func: Any, args: Args, kwargs: Kwargs, unknown: Unknown) -> Args | None:
    """The arguments of a function of the source, what is not known in the place of all others.

    A call that binds has a value for each parameter. None where it is not known which parameters
    there are.

    Args:
        func: What is called.
        args: The positional arguments before those that are not known.
        kwargs: The keyword arguments, which are all that there are.
        unknown: What stands for an argument that may be given.
    """
    bound = isinstance(func, Bound)
    called = func.func if bound else func
    if not isinstance(called, Func) or called.node.args.vararg is not None:
        return None
    spec = called.node.args
    names = [arg.arg for arg in (*spec.posonlyargs, *spec.args)]
    if bound and called.kind != "staticmethod":
        names = names[1:]
    return [*args, *(unknown for name in names[len(args) :] if name not in kwargs)]
