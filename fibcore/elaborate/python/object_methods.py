"""Methods that every object has from `object`, and every class from `type`."""

from __future__ import annotations

from typing import Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Ext,
    Kwargs,
    Mod,
    Native,
    Obj,
    Raised,
    has_foreign_attributes,
    merge,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown


class ObjectMethods(Part):
    """Gives the methods of `object` where a class of the source has none of its own."""

    def attr(self, owner: Any, name: str) -> Any:
        """`super().name` of an instance or class, where `object` is what is left; or ABSENT."""
        if isinstance(owner, Class):
            return self._of_type(owner, name)
        if not isinstance(owner, Obj) or not isinstance(owner.cls, Class):
            return ABSENT
        if name in _STORING:
            return Native(name, lambda ev, args, kwargs, at: _STORING[name](ev, owner, args, at))
        if isinstance(owner, Mod) or has_foreign_attributes(owner.cls):
            return ABSENT
        if name == "__init__":
            return ABSENT
        if name in _OTHERS:
            return Unknown(f"{name} of object")
        return ABSENT

    def of_class(self, cls: Class, name: str) -> Any:
        """`cls.name`, where `object` or `type` is what is left; or ABSENT."""
        if name in _STORING:
            return Native(name, lambda ev, args, kwargs, at: _unbound(ev, name, args, at))
        if name in ("__class__",):
            return cls.metaclass or self.ev.builtins["type"]
        if name in _OTHERS or name in ("__subclasses__", "mro", "__init__", "__call__"):
            return Unknown(f"{name} of a class")
        return ABSENT

    def _of_type(self, cls: Class, name: str) -> Any:
        if name == "__init_subclass__":

            def announce(ev: Any, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
                if kwargs and not has_foreign_attributes(cls):
                    raise Raised(
                        "TypeError", f"{cls.name}.__init_subclass__() takes no keywords", place
                    )

            return Native(name, announce)
        if name == "__new__":
            return Native(name, lambda ev, args, kwargs, at: ev.construction.bare(args, kwargs, at))
        if name == "__init__":
            return Native(name, lambda *_: None)
        if name == "__call__":
            return Native(
                name, lambda ev, args, kwargs, at: ev.construction.construct(cls, args, kwargs, at)
            )
        return ABSENT


def _set(ev: Any, owner: Obj, args: Args, place: SourcePlace) -> Any:
    if len(args) != 2:
        raise Raised("TypeError", "__setattr__ takes a name and a value", place)
    if isinstance(args[0], Alternatives):
        ev.writes.mapped(args[0], lambda name: _set(ev, owner, [name, args[1]], place))
        return None
    if not isinstance(args[0], str):
        why = Unknown("an attribute of an unknown name that was set", place)
        ev.doubts.set_attribute(owner, args[1], why)
        return None
    ev.layers.pin(args[0])
    owner.store(ev, args[0], args[1], place)
    return None


def _delete(ev: Any, owner: Obj, args: Args, place: SourcePlace) -> Any:
    if len(args) != 1 or not isinstance(args[0], str):
        ev.doubts.drop_attribute(owner, Unknown("an attribute that was deleted", place))
        return None
    owner.drop(ev, args[0], place)
    return None


def _get(ev: Any, owner: Obj, args: Args, place: SourcePlace) -> Any:
    if len(args) != 1 or not isinstance(args[0], str):
        return Unknown("an attribute of an unknown name", place)
    found = owner.default_attr(ev, args[0], place)
    if found is ABSENT:
        message = f"{owner.class_name} has no attribute {args[0]!r}"
        raise Raised("AttributeError", message, place)
    if isinstance(found, Alternatives) and ABSENT in found.values:
        ev.exceptions.may_raise(place, "AttributeError")
        return merge(v for v in found.values if v is not ABSENT)
    return found


_STORING = {"__setattr__": _set, "__delattr__": _delete, "__getattribute__": _get}
_OTHERS = frozenset((
    "__eq__", "__ne__", "__hash__", "__repr__", "__str__", "__format__", "__dir__", "__sizeof__",
    "__reduce__", "__reduce_ex__", "__lt__", "__le__", "__gt__", "__ge__", "__getstate__",
))  # fmt: skip


def _unbound(ev: Any, name: str, args: Args, place: SourcePlace) -> Any:
    owner = args[0] if args else None
    if isinstance(owner, Obj):
        return _STORING[name](ev, owner, args[1:], place)
    return Unknown(f"object.{name} of something else", place)


def _enter(name: str) -> None:
    @imitates(f"object.{name}")
    def run(ev: Any, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if name == "__setattr__" and args and isinstance(args[0], Mod):
            args[0].unregistered |= {a for a in args[1:2] if isinstance(a, str)}
        return _unbound(ev, name, args, place)


for _name in _STORING:
    _enter(_name)


@imitates("object.__new__", "type.__new__")
def _new(ev: Any, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return ev.construction.bare(args, kwargs, place)


@imitates("object.__init__", "object.__init_subclass__")
def _nothing(ev: Any, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return None


@imitates("object")
def _object(ev: Any, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if args or kwargs:
        raise Raised("TypeError", "object() takes no arguments", place)
    return Obj(Ext("object"), place)
