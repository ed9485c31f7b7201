"""Builtins of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import BUILTINS, builtin, enter
from fibcore.elaborate.python.plain_types import is_plain, plain_type
from fibcore.elaborate.python.values import (
    Args,
    Class,
    Ext,
    Func,
    Kwargs,
    Native,
    Obj,
    Partial,
    Raised,
    Super,
    Value,
    has_foreign_attributes,
    mapped,
)
from fibcore.elaborate.python.values.exceptions import exception_bases, is_subclass
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


_NONE_TYPE = Native("NoneType", lambda *_: None)


@builtin("isinstance")
def _isinstance(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    kinds = _flat(args[1])

    def each(value: Any) -> Any:
        answers = [is_instance(value, kind) for kind in kinds]
        if True in answers:
            return True
        if None in answers:
            return Unknown.truth("whether something unknown is an instance of a class", place)
        return False

    return mapped(args[0], each)


def _flat(kinds: Any) -> list[Any]:
    """The classes of a test, which may be a tuple of tuples."""
    if isinstance(kinds, tuple):
        return [inner for kind in kinds for inner in _flat(kind)]
    return [kinds]


def is_instance(value: Any, kind: Any) -> bool | None:
    """Whether a value is an instance of a class; None where that is not known."""
    if isinstance(kind, Native) and kind.name == "type":
        return _is_class(value)
    if isinstance(kind, Value):
        return kind.has_instance(value)
    return False if isinstance(value, Unknown) and value.is_tensor else None


def _is_class(value: Any) -> bool | None:
    """`isinstance(value, type)`; None where that is not known, as of another package's names."""
    if isinstance(value, Class):
        return True
    if isinstance(value, Ext) and value.name.startswith("torch.nn.") and value.short[:1].isupper():
        return True
    if isinstance(value, Unknown):
        return False if value.is_tensor else None
    return False if isinstance(value, (Func, Partial)) or not isinstance(value, Value) else None


@builtin("issubclass")
def _issubclass(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    kinds = _flat(args[1])
    cls = args[0]
    if exception_bases(cls):
        answers = [is_subclass(cls, kind) for kind in kinds]
        if True in answers:
            return True
        return Unknown.truth("a subclass test of an exception", place) if None in answers else False
    if isinstance(cls, Native) and all(isinstance(k, Native) for k in kinds):
        pairs = ((cls.name, k.name) for k in kinds)
        return any(a == b or (a, b) == ("bool", "int") for a, b in pairs)
    if not isinstance(cls, Class):
        return Unknown.truth("a subclass test of something unknown", place)
    if any(isinstance(k, Ext) and k.name == "object" for k in kinds):
        return True
    if any(k in cls.mro or (isinstance(k, Ext) and cls.derives(k.name)) for k in kinds):
        return True
    if any(isinstance(k, (Unknown, Alternatives)) for k in kinds):
        return Unknown.truth("a subclass test of something unknown", place)
    if any(not isinstance(k, Class) for k in kinds) and has_foreign_attributes(cls):
        return Unknown.truth("a subclass test of a class that is not known", place)
    return False


@builtin("type")
def _type(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    def each(value: Any) -> Any:
        if isinstance(value, Class) and value.metaclass is None and not value.metaclass_name:
            return BUILTINS["type"]
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
    if len(args) != 1 or kwargs:
        raise Raised("TypeError", "type() takes 1 or 3 arguments", place)
    return mapped(args[0], each)


@builtin("super")
def _super(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if len(args) == 2 and isinstance(args[0], Class):
        if _is_no_instance(args[1], args[0]):
            raise Raised("TypeError", "super(): no instance or subclass of the class", place)
        return Super(args[1], args[0])
    return Unknown("super() with other arguments", place)


def _is_no_instance(value: Any, cls: Class) -> bool:
    """Whether a value is certainly neither an instance of a class nor derived from it."""
    if isinstance(value, Obj):
        made_of = value.cls
    elif isinstance(value, Class) and value.metaclass is None and not value.metaclass_name:
        made_of = value
    else:
        return is_plain(value)
    known = isinstance(made_of, Class) and not has_foreign_attributes(made_of)
    return known and cls not in made_of.mro


def _method_kind(kind: str) -> None:
    """`stage = staticmethod(function)` and the like, outside of decorator syntax."""

    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        given = dict(zip(("fget", "fset", "fdel", "doc"), args, strict=False))
        given.update(kwargs)
        func = given.get("fget")
        if not isinstance(func, Func):
            # A static method of anything else is that itself, and a class holds no other method.
            plain_value = kind == "staticmethod" or func is None
            return func if plain_value else Unknown(f"a {kind} of no function", place)
        made = func.of_kind(kind)
        made.setter, made.deleter = given.get("fset"), given.get("fdel")
        return made

    enter(kind, run)


for _name in ("property", "staticmethod", "classmethod"):
    _method_kind(_name)
