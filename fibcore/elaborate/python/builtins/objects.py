"""Builtins that ask objects for what they have and are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import builtin
from fibcore.elaborate.python.values import (
    ABSENT,
    PROPERTIES,
    Args,
    Class,
    Func,
    Kwargs,
    Mod,
    ModuleSpace,
    Namespace,
    Native,
    Obj,
    Raised,
    Value,
    merge,
    one_of,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


def _runs_code(ev: Evaluator, value: Any, name: str) -> bool:
    """Whether reading an attribute of an object runs a function of the source."""
    if type(value) is not Obj or not isinstance(value.cls, Class) or ev.mode.forward:
        return False
    attr = ev.classes.attr
    if isinstance(attr(value.cls, "__getattribute__"), Func):
        return True
    if name in value.attrs:
        return False
    found = attr(value.cls, name)
    if found is ABSENT:
        return isinstance(attr(value.cls, "__getattr__"), Func)
    return isinstance(found, Obj) or (isinstance(found, Func) and found.kind in PROPERTIES)


@builtin("getattr")
def _getattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    owner, name = args[0], args[1]
    if not isinstance(name, str):
        why = Unknown("an attribute of an unknown name", place)
        if isinstance(owner, (list, dict, set)):  # whichever method it is

            def call(*_: Any) -> Any:
                ev.doubts.lose(owner, why)
                return why

            return Native("an unknown method", call, owner)
        if isinstance(owner, Obj) and not isinstance(owner, Mod):
            return one_of(owner.attrs.values(), why)
        return why
    ev.layers.pin(name)
    if len(args) == 2:
        return ev.attributes.get(owner, name, place)

    def each(value: Any) -> Any:
        if ev.environment.is_mark(name) and isinstance(value, Unknown) and value.is_tensor:
            return Unknown(f"hasattr {name}", place) if name in ev.attributes.marks else False
        if _runs_code(ev, value, name):
            find = partial(ev.attributes.get, value, name, place)
            return ev.exceptions.unless("AttributeError", find, args[2], place)
        found = ev.attributes.find(value, name, place)
        return args[2] if found is ABSENT else found

    try:
        found = ev.writes.mapped(owner, each)
    except Raised as error:
        if error.kind != "AttributeError":
            raise
        return args[2]
    if isinstance(found, Alternatives) and ABSENT in found.values:
        return merge([*(v for v in found.values if v is not ABSENT), args[2]])
    return found


@builtin("hasattr")
def _hasattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    name = args[1]
    if not isinstance(name, str):
        return Unknown.truth("an attribute of an unknown name", place)
    ev.layers.pin(name)

    def each(value: Any) -> Any:
        if ev.environment.is_mark(name) and isinstance(value, Unknown) and value.is_tensor:
            return Unknown.truth(f"hasattr {name}", place) if name in ev.attributes.marks else False
        if _runs_code(ev, value, name):
            find = partial(ev.attributes.get, value, name, place)
            found = ev.exceptions.unless("AttributeError", lambda: (find(), True)[1], False, place)
            return found if isinstance(found, bool) else Unknown.truth(f"hasattr {name}", place)
        try:
            found = ev.attributes.find(value, name, place)
        except Raised as error:
            if error.kind != "AttributeError":
                raise
            return False
        if isinstance(found, Unknown):
            if isinstance(value, (Obj, Namespace)) and found.kind is UnknownKind.ATTRIBUTE:
                return Unknown.truth(f"whether there is an attribute {name}", place)
            if isinstance(value, Unknown):
                return found.as_truth()
        if isinstance(found, Alternatives) and ABSENT in found.values:
            return Unknown.truth(f"whether there is an attribute {name}", place)
        return found is not ABSENT

    return ev.writes.mapped(args[0], each)


@builtin("setattr")
def _setattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    name = args[1]
    if isinstance(name, Alternatives):
        ev.writes.mapped(name, lambda n: _setattr(ev, [args[0], n, args[2]], {}, place))
    elif isinstance(name, str):
        ev.layers.pin(name)
        ev.attributes.set(args[0], name, args[2], place)
    else:
        why = Unknown("an attribute of an unknown name that was set", place)
        ev.doubts.set_attribute(args[0], args[2], why)
    return None


@builtin("delattr")
def _delattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if isinstance(args[1], str):
        ev.attributes.delete(args[0], args[1], place)
    else:
        ev.doubts.drop_attribute(args[0], Unknown("an attribute that was deleted", place))
    return None


@builtin("callable")
def _callable(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown.truth("whether something unknown can be called", place)
    return isinstance(value, Value) and value.is_callable(ev, place)


@builtin("id")
def _id(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Unknown("an id", place)  # an address, which differs in each process


@builtin("vars")
def _vars(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    owner = args[0] if args else None
    if isinstance(owner, ModuleSpace):
        return Unknown("the names of a module", place)
    if type(owner) is Obj:
        kept = ev.classes.keeps_dict(owner.cls) if isinstance(owner.cls, Class) else True
        if kept is False:
            raise Raised("TypeError", "vars() argument must have __dict__ attribute", place)
        return owner.attrs if kept else Unknown("vars() of an object with slots as well", place)
    known = owner.variables() if isinstance(owner, Value) else None
    return Unknown("vars()", place) if known is None else known
