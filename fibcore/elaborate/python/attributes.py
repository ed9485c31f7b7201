"""Attributes: how they are read and written."""

from __future__ import annotations

from typing import Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    PROPERTIES,
    Bound,
    Class,
    Func,
    Mod,
    Native,
    Obj,
    Raised,
    Value,
)
from fibcore.elaborate.python.values.exceptions import ExceptionObject
from fibcore.model.tree import Alternatives, SourcePlace, Unknown


class Attributes(Part):
    """Reads and writes attributes."""

    def get(self, value: Any, name: str, place: SourcePlace) -> Any:
        """`value.name`; raises AttributeError as Python would."""
        if isinstance(value, Alternatives):
            return self.ev.writes.mapped(value, lambda v: self.get(v, name, place))
        if isinstance(value, Unknown):
            self.ev.exceptions.may_raise(place, "AttributeError")
            return value
        found = self.find(value, name, place)
        if found is ABSENT:
            if self.ev.mode.forward and value is None:
                # Loading weights may set what a constructor leaves at None.
                why = f"attribute {name} of what is set when weights are loaded"
                return Unknown.attribute(why, place)
            message = f"{plain.shown(value)} has no attribute {name!r}"
            raise Raised("AttributeError", message, place)
        if isinstance(found, Alternatives) and ABSENT in found.values:
            # Python would raise where it is not set; going on means that it is.
            kept = tuple(v for v in found.values if v is not ABSENT)
            return kept[0] if len(kept) == 1 else Alternatives(kept)
        return found

    def find(self, value: Any, name: str, place: SourcePlace) -> Any:
        """`value.name`, or ABSENT."""
        if isinstance(value, Value):
            return value.find_attr(self.ev, name, place)
        if isinstance(value, Unknown):
            return value
        return self.ev.plain.attribute(value, name, place)

    def set(self, owner: Any, name: str, value: Any, place: SourcePlace) -> None:
        """`owner.name = value`; of one of several owners, each gets it."""
        if isinstance(owner, Value):
            owner.set_attr(self.ev, name, value, place)
        elif isinstance(owner, Alternatives):
            self.ev.writes.mapped(owner, lambda part: self.set(part, name, value, place))
        elif isinstance(owner, plain.PLAIN) and not self.ev.mode.forward:
            message = f"{plain.shown(owner)} has no attribute {name!r}"
            raise Raised("AttributeError", message, place)

    def delete(self, owner: Any, name: str, place: SourcePlace) -> None:
        """`del owner.name`."""
        if isinstance(owner, Obj):
            if name not in owner.attrs and owner.lacks(self.ev, "__delattr__"):
                message = f"{plain.shown(owner)} has no attribute {name!r}"
                raise Raised("AttributeError", message, place)
            self.ev.writes.put(owner.attrs, name, ABSENT)

    def bind(self, found: Any, obj: Any, cls: Class, place: SourcePlace) -> Any:
        """What reading a class attribute through an instance gives."""
        if not isinstance(found, Func):
            return found
        if found.kind in PROPERTIES:
            return self.ev.calls.call(Bound(found, obj), [], {}, place)
        if found.kind == "staticmethod":
            return found
        return Bound(found, cls if found.kind == "classmethod" else obj)

    def of_foreign_base(self, owner: Any, name: str, place: SourcePlace) -> Any:
        """`super().name`, where no class of the source has it."""
        if isinstance(owner, ExceptionObject):
            method = owner.of_builtin_base(self.ev, name)
            if method is not ABSENT:
                return method
        if isinstance(owner, Mod):
            method = self.ev.libraries.module_attribute(owner, name)
            if method is not ABSENT:
                return method
        method = self.ev.environment.super_method(owner, name)
        if method is not ABSENT:
            return method
        if name == "__init__" and isinstance(owner, Obj):
            return Native(
                "super().__init__", lambda ev, args, kwargs, at: keep_keywords(owner, kwargs)
            )
        if name == "forward" and isinstance(owner, Mod):
            return Native("super().forward", lambda *_: Unknown.tensor(TENSOR_REASON, place))
        return Native(f"super().{name}", lambda *_: None)


def keep_keywords(owner: Obj, given: dict[str, Any]) -> None:
    """Keep keyword arguments as attributes, as a base class outside of the source may do."""
    for name, value in given.items():
        owner.attrs.setdefault(name, value)
