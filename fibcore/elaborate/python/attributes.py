"""Attributes: how they are read and written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    PROPERTIES,
    Args,
    Bound,
    Class,
    EnumMember,
    Func,
    Kwargs,
    Method,
    Mod,
    ModuleSpace,
    Namespace,
    Native,
    Obj,
    Raised,
    Value,
    has_foreign_attributes,
)
from fibcore.elaborate.python.values.classes import is_of_source
from fibcore.elaborate.python.values.dicts import DefaultDict
from fibcore.elaborate.python.values.exceptions import ExceptionObject
from fibcore.elaborate.python.values.tensors import PLAIN_OF_TENSORS, TRUTHS_OF_TENSORS
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


class Attributes(Part):
    """Reads and writes attributes.

    Attributes:
        marks: The names that the program has set on anything, of those that tensors have by it
            alone.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.marks: set[str] = set()

    def get(self, value: Any, name: str, place: SourcePlace) -> Any:
        """`value.name`; raises AttributeError as Python would."""
        if isinstance(value, Alternatives):
            return self.ev.writes.mapped(value, lambda v: self.get(v, name, place))
        if isinstance(value, Unknown):
            self.ev.exceptions.may_raise(place, "AttributeError")
            return _of_unknown(value, name)
        found = self.find(value, name, place)
        if found is ABSENT:
            if self.ev.mode.forward and value is None:
                # Loading weights may set what a constructor leaves at None.
                # What it is is not known: a method of a cache may well give None.
                why = f"attribute {name} of what is set when weights are loaded"
                return Unknown(why, place)
            message = f"{plain.shown(value)} has no attribute {name!r}"
            raise Raised("AttributeError", message, place)
        if isinstance(found, Unknown) and found.kind is UnknownKind.ATTRIBUTE:
            self.ev.exceptions.may_raise(place, "AttributeError")
        if isinstance(found, Alternatives) and ABSENT in found.values:
            # Python would raise where it is not set; going on means that it is.
            self.ev.exceptions.may_raise(place, "AttributeError")
            kept = tuple(v for v in found.values if v is not ABSENT)
            return kept[0] if len(kept) == 1 else Alternatives(kept)
        return found

    def find(self, value: Any, name: str, place: SourcePlace) -> Any:
        """`value.name`, or ABSENT."""
        if isinstance(value, Value):
            return value.find_attr(self.ev, name, place)
        if isinstance(value, Unknown):
            return _of_unknown(value, name)
        return self.ev.plain.attribute(value, name, place)

    def set(self, owner: Any, name: str, value: Any, place: SourcePlace) -> None:
        """`owner.name = value`; of one of several owners, each gets it."""
        if self.ev.environment.is_mark(name):
            self.marks.add(name)
        if isinstance(owner, Value):
            owner.set_attr(self.ev, name, value, place)
        elif isinstance(owner, Alternatives):
            self.ev.writes.mapped(owner, lambda part: self.set(part, name, value, place))
        elif isinstance(owner, DefaultDict) and name == "default_factory":
            why = Unknown("a dict whose factory one side of a branch changed", place)
            if self.ev.writes.open:  # branches take back what a dict holds, and no more
                self.ev.doubts.lose(owner, why)
            owner.factory = why if self.ev.writes.open else value
        elif isinstance(owner, plain.PLAIN) and not self.ev.mode.forward:
            message = f"{plain.shown(owner)} has no attribute {name!r}"
            raise Raised("AttributeError", message, place)
        elif isinstance(owner, Unknown):
            self._may_refuse(place)

    def delete(self, owner: Any, name: str, place: SourcePlace) -> None:
        """`del owner.name`."""
        if isinstance(owner, (Obj, Class)):
            owner.del_attr(self.ev, name, place)
        elif isinstance(owner, (Func, EnumMember)):
            if name in owner.attrs:
                self.ev.writes.put(owner.attrs, name, ABSENT)
            elif name.startswith("__"):
                self._may_refuse(place)  # some are those of the type
            else:
                raise Raised("AttributeError", f"no attribute {name!r} of its own", place)
        elif isinstance(owner, Namespace):
            self.ev.writes.put(owner.values, owner.key(name), ABSENT)
        elif isinstance(owner, ModuleSpace):
            self.ev.writes.put(owner.env.vars, name, ABSENT)
        elif isinstance(owner, Alternatives):
            self.ev.writes.mapped(owner, lambda part: self.delete(part, name, place))
        elif not isinstance(owner, plain.PLAIN):
            self._may_refuse(place)
        elif not self.ev.mode.forward:
            kind = "TypeError" if name == "__class__" else "AttributeError"
            raise Raised(kind, f"{plain.shown(owner)} has no attribute {name!r} to delete", place)

    def _may_refuse(self, place: SourcePlace) -> None:
        self.ev.exceptions.may_raise(place, "AttributeError", "TypeError")

    def bind(self, found: Any, obj: Any, cls: Class, place: SourcePlace, name: str = "") -> Any:
        """What reading a class attribute through an instance gives."""
        if isinstance(found, Method):
            return Bound(found, obj)
        if not isinstance(found, Func):
            if isinstance(found, Obj) and isinstance(found.cls, Class):
                getter = self.ev.classes.attr(found.cls, "__get__")
                if isinstance(getter, Func):
                    return self.ev.calls.call(Bound(getter, found), [obj, cls], {}, place)
            return found
        if found.kind in PROPERTIES:
            value = self.ev.calls.call_function(found, [obj], {}, place)
            if found.kind == "cached_property" and name and isinstance(obj, Obj):
                self.ev.writes.put(obj.attrs, name, value)
            return value
        if found.kind == "staticmethod":
            return found
        return Bound(found, cls if found.kind == "classmethod" else obj)

    def bind_to_class(self, found: Any, cls: Class, place: SourcePlace) -> Any:
        """What reading a class attribute through the class gives."""
        if isinstance(found, Obj) and isinstance(found.cls, Class):
            getter = self.ev.classes.attr(found.cls, "__get__")
            if isinstance(getter, Func):
                return self.ev.calls.call(Bound(getter, found), [None, cls], {}, place)
        return found

    def set_by(self, found: Any, obj: Obj, name: str, value: Any, place: SourcePlace) -> None:
        """`obj.name = value` where the class holds a data descriptor of the name."""
        if isinstance(found, Func):
            if found.setter is None:
                raise Raised("AttributeError", f"property {name!r} has no setter", place)
            self.ev.calls.call(found.setter, [obj, value], {}, place)
            return
        setter = self.ev.classes.attr(found.cls, "__set__")
        if setter is ABSENT:
            raise Raised("AttributeError", f"{name!r} cannot be set", place)
        self.ev.calls.call(Bound(setter, found), [obj, value], {}, place)

    def delete_by(self, found: Any, obj: Obj, name: str, place: SourcePlace) -> None:
        """`del obj.name` where the class holds a data descriptor of the name."""
        if isinstance(found, Func):
            if found.deleter is None:
                raise Raised("AttributeError", f"property {name!r} has no deleter", place)
            self.ev.calls.call(found.deleter, [obj], {}, place)
            return
        deleter = self.ev.classes.attr(found.cls, "__delete__")
        if deleter is ABSENT:
            raise Raised("AttributeError", f"{name!r} cannot be deleted", place)
        self.ev.calls.call(Bound(deleter, found), [obj], {}, place)

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
        found = self.ev.object_methods.attr(owner, name)
        if found is not ABSENT:
            return found
        if name == "__init__" and isinstance(owner, Obj):
            return Native("super().__init__", partial(_init_of_base, owner))
        if name == "forward" and isinstance(owner, Mod):
            return Native("super().forward", lambda *_: Unknown.tensor(TENSOR_REASON, place))
        cls = owner.instance_class if isinstance(owner, Value) else None
        if (
            isinstance(cls, Class)
            and not has_foreign_attributes(cls)
            and not isinstance(owner, Mod)
        ):
            return ABSENT
        return Native(f"super().{name}", lambda *_: None)


def _init_of_base(owner: Obj, ev: Any, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
    """`super().__init__(...)`, where no class of the source has it."""
    if (args or kwargs) and isinstance(owner.cls, Class) and is_of_source(owner.cls):
        raise Raised("TypeError", "object.__init__() takes exactly one argument", place)
    known = ev.libraries.module_sizes(owner, args, kwargs) if isinstance(owner, Mod) else None
    keep_keywords(owner, kwargs if known is None else known)


def keep_keywords(owner: Obj, given: dict[str, Any]) -> None:
    """Keep keyword arguments as attributes, as a base class outside of the source may do."""
    for name, value in given.items():
        owner.attrs.setdefault(name, value)


def _of_unknown(value: Unknown, name: str) -> Unknown:
    """An attribute of something unknown; one of a tensor may be told by its name.

    Methods of numbers and texts give such again, so what is called is as plain as its result.
    """
    if value.is_tensor:
        if name in TRUTHS_OF_TENSORS:
            return value.as_truth()
        return value.as_plain() if name in PLAIN_OF_TENSORS else value
    return value.as_plain() if value.is_plain else value
