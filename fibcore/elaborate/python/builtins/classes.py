"""Builtins of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import BUILTINS, builtin, enter
from fibcore.elaborate.python.plain_types import plain_type
from fibcore.elaborate.python.values import (
    Args,
    Class,
    Ext,
    Func,
    Kwargs,
    Native,
    Super,
    Value,
    mapped,
)
from fibcore.elaborate.python.values.exceptions import exception_bases, is_subclass
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


_NONE_TYPE = Native("NoneType", lambda *_: None)


@builtin("isinstance")
def _isinstance(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    kinds = args[1] if isinstance(args[1], tuple) else (args[1],)

    def each(value: Any) -> Any:
        answers = [is_instance(value, kind) for kind in kinds]
        if True in answers:
            return True
        if None in answers:
            return Unknown("whether something unknown is an instance of a class", place)
        return False

    return mapped(args[0], each)


def is_instance(value: Any, kind: Any) -> bool | None:
    """Whether a value is an instance of a class; None where that is not known."""
    if isinstance(kind, Value):
        return kind.has_instance(value)
    return False if isinstance(value, Unknown) and value.is_tensor else None


@builtin("issubclass")
def _issubclass(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    kinds = args[1] if isinstance(args[1], tuple) else (args[1],)
    if exception_bases(args[0]):
        answers = [is_subclass(args[0], kind) for kind in kinds]
        if True in answers:
            return True
        return Unknown("a subclass test of an exception", place) if None in answers else False
    if not isinstance(args[0], Class):
        return Unknown("a subclass test of something unknown", place)
    return any(k in args[0].mro or (isinstance(k, Ext) and args[0].derives(k.name)) for k in kinds)


@builtin("type")
def _type(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    def each(value: Any) -> Any:
        if isinstance(value, Value):
            return value.type_of(place)
        if isinstance(value, Unknown):
            return value
        if value is None:
            return _NONE_TYPE
        kind = plain_type(value)
        name = "" if kind is None else kind.name
        return BUILTINS.get(name, Unknown("a type", place))

    if len(args) == 3:
        return Unknown("a class made by type()", place)
    return mapped(args[0], each)


@builtin("super")
def _super(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if len(args) == 2 and isinstance(args[0], Class):
        return Super(args[1], args[0])
    return Unknown("super() with other arguments", place)


def _method_kind(kind: str) -> None:
    """`stage = staticmethod(function)` and the like, outside of decorator syntax."""

    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        func = args[0] if args else None
        if not isinstance(func, Func):
            return func
        made = Func(func.node, func.env, func.qualname, func.cls, kind)
        made.defaults = func.defaults
        return made

    enter(kind, run)


for _name in ("property", "staticmethod", "classmethod"):
    _method_kind(_name)
