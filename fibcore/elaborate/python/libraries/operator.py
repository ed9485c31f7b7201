"""operator."""

from __future__ import annotations

import ast
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import CALLS, imitates
from fibcore.elaborate.python.values import Args, Kwargs, Native, Raised
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_BINARY = {
    "add": ast.Add, "sub": ast.Sub, "mul": ast.Mult, "truediv": ast.Div, "floordiv": ast.FloorDiv,
    "mod": ast.Mod, "pow": ast.Pow, "lshift": ast.LShift, "rshift": ast.RShift,
    "and_": ast.BitAnd, "or_": ast.BitOr, "xor": ast.BitXor, "matmul": ast.MatMult,
}  # fmt: skip
_COMPARE = {
    "eq": ast.Eq, "ne": ast.NotEq, "lt": ast.Lt, "le": ast.LtE, "gt": ast.Gt, "ge": ast.GtE,
    "is_": ast.Is, "is_not": ast.IsNot,
}  # fmt: skip


def _two(name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
    if len(args) != 2 or kwargs:
        raise Raised("TypeError", f"{name}() takes two arguments", place)


def _binary(name: str, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    _two(name, args, kwargs, place)
    return ev.operators.combine(_BINARY[name], args[0], args[1], place)


def _compare(name: str, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    _two(name, args, kwargs, place)
    return ev.comparisons.compare(_COMPARE[name](), args[0], args[1], place)


CALLS.update({f"operator.{name}": partial(_binary, name) for name in _BINARY})
CALLS.update({f"operator.{name}": partial(_compare, name) for name in _COMPARE})


@imitates("operator.getitem")
def _getitem(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    _two("getitem", args, kwargs, place)
    return ev.operators.subscript(args[0], args[1], place)


@imitates("operator.itemgetter")
def _itemgetter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    def get(ev: Evaluator, given: Args, named: Kwargs, at: SourcePlace) -> Any:
        found = [ev.operators.subscript(given[0], key, at) for key in args]
        return found[0] if len(found) == 1 else tuple(found)

    return Native("itemgetter", get)


@imitates("operator.attrgetter")
def _attrgetter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not all(isinstance(name, str) for name in args):
        return Unknown("attributes of unknown names", place)

    def one(value: Any, name: str, at: SourcePlace) -> Any:
        for part in name.split("."):
            value = ev.attributes.get(value, part, at)
        return value

    def get(ev: Evaluator, given: Args, named: Kwargs, at: SourcePlace) -> Any:
        found = [one(given[0], name, at) for name in args]
        return found[0] if len(found) == 1 else tuple(found)

    return Native("attrgetter", get)
