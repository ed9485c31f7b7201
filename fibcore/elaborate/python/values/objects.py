"""Instances of classes of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.pure import ANYTHING, says_nothing
from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised
from fibcore.elaborate.python.values.classes import (
    Class,
    has_foreign_attributes,
    is_of_source,
    may_have_foreign,
)
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import PROPERTIES, Bound, Func, Receiver
from fibcore.elaborate.python.values.merging import copied, merge
from fibcore.elaborate.python.values.open_ended import OTHER_KEYS, may_be_absent
from fibcore.elaborate.python.values.tracking import born
from fibcore.model.tree import Alternatives, OfPackage, SourcePlace, Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

GETATTRIBUTE = "__getattribute__"
_PLAIN_BASES = frozenset((
    "object", "ABC", "Generic", "Module", "Protocol", "Enum", "Struct", "NamedTuple",
))  # fmt: skip
"""Base classes outside of the source that derive from no class that anybody asks for."""


class Obj(Receiver):
    """An instance of a class of the source that is no module, or of one outside of it.

    Attributes:
        attrs: Its attributes.
        args: What its constructor was given, by parameter.
    """

    __slots__ = ("args", "attrs", "cls", "place")
    changeable = True

    def __init__(self, cls: Any, place: SourcePlace | None = None) -> None:
        self.cls = cls
        self.attrs: dict[str, Any] = born({})
        self.args: dict[str, Any] = {}
        self.place = place

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.class_name})"

    @property
    def class_name(self) -> str:
        """The name of its class, without the module."""
        return self.cls.name if isinstance(self.cls, (Class, Ext)) else str(self.cls)

    @property
    def shown(self) -> str:
        return self.class_name

    @property
    def dotted_name(self) -> str:
        return self.cls.qualified if isinstance(self.cls, Class) else str(self.cls.name)

    @property
    def instance_class(self) -> Any:
        return self.cls

    def type_of(self, place: SourcePlace) -> Any:
        return self.cls

    def is_of(self, cls: Any) -> bool | None:
        return cls in self.cls.mro if isinstance(self.cls, Class) else False

    def is_python(self, name: str, kind: type) -> bool:
        return name == "tuple" and isinstance(self.cls, Class) and self.cls.derives("NamedTuple")

    def is_of_external(self, name: str) -> bool | None:
        if name == "object":
            return True
        if isinstance(self.cls, Class):
            if self.cls.derives(name):
                return True
            bases = (b for b in self.cls.mro if isinstance(b, Ext))
            # What another package's class derives from is not known.
            return None if any(b.short not in _PLAIN_BASES for b in bases) else False
        if isinstance(self.cls, Ext):
            return self.cls.name == name or (
                name in ("torch.nn.Module", "torch.nn.modules.module.Module")
            )
        return False

    def copied(self) -> Any:
        new = Obj(self.cls, self.place)
        new.attrs = born({k: copied(v) for k, v in self.attrs.items()})
        new.args = self.args
        return new

    def method(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """A special method, which Python looks up in the class alone; ABSENT without one."""
        if not isinstance(self.cls, Class):
            return ABSENT
        found = ev.classes.attr(self.cls, name)
        return ABSENT if found is ABSENT else ev.attributes.bind(found, self, self.cls, place)

    def special(self, ev: Evaluator, name: str, args: Args, place: SourcePlace) -> Any:
        """What a special method of its class gives; ABSENT without such a method."""
        method = self.method(ev, name, place)
        return ABSENT if method is ABSENT else ev.calls.call(method, args, {}, place)

    def lacks(self, ev: Evaluator, name: str) -> bool:
        """Whether its class certainly has no such special method."""
        if isinstance(self.cls, Ext):
            return self.cls.name == "object"
        if not isinstance(self.cls, Class) or has_foreign_attributes(self.cls):
            return False
        return ev.classes.attr(self.cls, name) is ABSENT

    def says(self, ev: Evaluator, name: str) -> bool:
        """Whether it is known if its class has a special method."""
        defined = isinstance(self.cls, Class) and ev.classes.attr(self.cls, name) is not ABSENT
        return defined or self.lacks(ev, name)

    def _refuse(self, ev: Evaluator, names: tuple[str, ...], why: str, place: SourcePlace) -> Any:
        """Raise what Python does for an object without any of these methods; else Unknown."""
        if all(self.lacks(ev, name) for name in names) and ev.records.plain_methods(self.cls):
            raise Raised("TypeError", f"{self.class_name!r} object {why}", place)
        return Unknown(f"{self!r} {why}", place)

    def truth(self, ev: Evaluator) -> bool | None:
        place = self.place or SourcePlace("", 1)
        result = self.special(ev, "__bool__", [], place)
        if result is not ABSENT:
            if isinstance(result, bool):
                return result
            if isinstance(result, (Unknown, Alternatives)):
                return ev.operators.truth(result)
            raise Raised("TypeError", "__bool__ should return bool", place)
        if self.method(ev, "__len__", place) is not ABSENT:
            return ev.operators.truth(self.length(ev, place))
        record = ev.records.row(self)
        return True if record is None else bool(record)

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        found = self.special(ev, "__eq__", [other], place)
        if found is not ABSENT:
            return ABSENT if is_not_implemented(found) else found
        found = ev.records.equal(self, other, place)
        if found is not ABSENT:
            return found
        return True if self is other else ABSENT

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        found = self.special(ev, "__getitem__", [key], place)
        if found is not ABSENT:
            return found
        row = ev.records.row(self)
        if row is not None:
            return ev.operators.subscript(tuple(row), key, place)
        return self._refuse(ev, ("__getitem__",), "is not subscriptable", place)

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        if self.special(ev, "__setitem__", [key, value], place) is ABSENT:
            self.refuse_item(ev, "__setitem__", "__delitem__", place)

    def refuse_item(self, ev: Evaluator, method: str, other: str, place: SourcePlace) -> None:
        """Raise what Python does of an object without a method that sets or deletes items."""
        if not self.lacks(ev, method):
            return
        # Both are one slot of the class.
        kind = "TypeError" if self.lacks(ev, other) else "AttributeError"
        raise Raised(kind, f"{self.class_name!r} object has no {method}", place)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        found = self.special(ev, "__contains__", [item], place)
        if found is not ABSENT:
            truth = ev.operators.truth(found)
            return Unknown(f"membership in {self!r}", place) if truth is None else truth
        row = ev.records.row(self)
        if row is not None:
            return ev.comparisons.among(item, row, place)
        iterator = ev.iteration.iterator(self, place)
        if not isinstance(iterator, Unknown):
            return iterator.contains(ev, item, place)
        names = ("__contains__", "__iter__", "__getitem__")
        return self._refuse(ev, names, "is not a container", place)

    def items(self, ev: Evaluator) -> list[Any] | None:
        return ev.records.row(self)

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        found = self.special(ev, "__len__", [], place)
        if found is ABSENT:
            row = ev.records.row(self)
            return (
                len(row)
                if row is not None
                else self._refuse(ev, ("__len__",), "has no len()", place)
            )
        if isinstance(found, (Unknown, Alternatives)):
            return found
        if not isinstance(found, int):
            raise Raised("TypeError", "__len__ should return an integer", place)
        if found < 0:
            raise Raised("ValueError", "__len__() should return >= 0", place)
        return int(found) if isinstance(found, bool) else found

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return self.method(ev, "__call__", place) is not ABSENT

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        method = self.method(ev, "__call__", place)
        if method is not ABSENT:
            return ev.calls.call(method, args, kwargs, place)
        return self._refuse(ev, ("__call__",), "is not callable", place)

    def operate(self, ev: Evaluator, op: str, other: Any, place: SourcePlace) -> Any:
        return ev.special_methods.binary(op, self, other, place)

    def variables(self) -> dict[str, Any] | None:
        return self.attrs

    def swallows(self, ev: Evaluator) -> frozenset[str]:
        left = ev.classes.attr(self.cls, "__exit__") if isinstance(self.cls, Class) else ABSENT
        if isinstance(left, Func) and says_nothing(left.node):
            return frozenset()
        return frozenset() if left is ABSENT else ANYTHING

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        if self.lacks(ev, "__enter__") or self.lacks(ev, "__exit__"):
            raise Raised("TypeError", f"{self.class_name!r} object is no context manager", place)
        entered = self.special(ev, "__enter__", [], place)
        return self if entered is ABSENT else entered

    def leave(self, ev: Evaluator, error: Raised | None, place: SourcePlace) -> bool | None:
        left = self.method(ev, "__exit__", place)
        if left is ABSENT:
            return False
        given = ev.exceptions.exit_arguments(error, place)
        truth = ev.operators.truth(ev.calls.call(left, given, {}, place))
        return False if error is None else truth

    # -- attributes ----------------------------------------------------------------------------

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        cls = self.cls
        if isinstance(cls, Class):
            descriptors = ev.classes.descriptors(cls)
            if GETATTRIBUTE in descriptors:
                getter = ev.classes.attr(cls, GETATTRIBUTE)
                if isinstance(getter, Func):
                    return self._by_getattribute(ev, getter, name, place)
            if name in descriptors:
                found = ev.classes.data_descriptor(cls, name)
                if found is not ABSENT:
                    return self._found(ev, found, name, place)
        return self.generic_attr(ev, name, place)

    def default_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """The attribute as `object.__getattribute__` finds it."""
        if isinstance(self.cls, Class) and name in ev.classes.descriptors(self.cls):
            found = ev.classes.data_descriptor(self.cls, name)
            if found is not ABSENT:
                return ev.attributes.bind(found, self, self.cls, place, name)
        return self.generic_attr(ev, name, place, hooks=False)

    def generic_attr(
        self, ev: Evaluator, name: str, place: SourcePlace, *, hooks: bool = True
    ) -> Any:
        """The attribute as it is found but by descriptors; last by `__getattr__`."""
        if name in self.attrs:
            held = self.attrs[name]
            if not may_be_absent(held):
                return held
            # Where it is not set, what the class has shows.
            behind = self._behind_attributes(ev, name, place, hooks=hooks)
            return merge([*(v for v in held.values if v is not ABSENT), behind])
        if OTHER_KEYS in self.attrs and not name.startswith("__"):
            return Unknown.attribute(f"attribute {name}, which may have been set", place)
        return self._behind_attributes(ev, name, place, hooks=hooks)

    def _behind_attributes(
        self, ev: Evaluator, name: str, place: SourcePlace, *, hooks: bool = True
    ) -> Any:
        """The attribute of an object that does not hold one of the name itself."""
        if name == "__class__":
            return self.cls
        if name == "__dict__":
            slotted = isinstance(self.cls, Class) and not ev.classes.has_slot(self.cls, name)
            return ABSENT if slotted else self.attrs
        if isinstance(self.cls, Class):
            found = ev.classes.attr(self.cls, name)
            if found is not ABSENT:
                if isinstance(found, Func) and found.kind in PROPERTIES:
                    self.complete()
                    if name in self.attrs and found.kind == "cached_property":
                        return self.attrs[name]
                if not hooks:
                    return ev.attributes.bind(found, self, self.cls, place, name)
                return self._found(ev, found, name, place)
        found = self._foreign_attr(ev, name, place)
        if found is ABSENT and isinstance(self.cls, Class):
            found = ev.records.attr_of_row(self, name)
        if found is ABSENT and name.startswith("__"):
            found = self._common_attr(ev, name, place)
        if found is not ABSENT or name.startswith("__"):
            return found
        if isinstance(self.cls, Class):
            getter = ev.classes.attr(self.cls, "__getattr__")
            if isinstance(getter, Func) and hooks:
                return ev.calls.call(Bound(getter, self), [name], {}, place)
            if may_have_foreign(ev, self.cls, name):
                why = f"attribute {name}, perhaps of a base class of {self.class_name}"
                return Unknown.attribute(why, place)
        if isinstance(self.cls, Ext):
            package = self.cls.name.partition(".")[0]
            why = f"attribute {name} of {self.cls.name}"
            return OfPackage(why, place, UnknownKind.ATTRIBUTE, package)
        return ABSENT

    def _common_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """What every object has from its class, or from `object`."""
        if not isinstance(self.cls, Class):
            return ABSENT
        if name in ("__module__", "__doc__", "__annotations__"):
            return self.cls.find_attr(ev, name, place)
        found = ev.object_methods.attr(self, name)
        return ev.records.attr_of_class(self.cls, name) if found is ABSENT else found

    def _found(self, ev: Evaluator, found: Any, name: str, place: SourcePlace) -> Any:
        """A class attribute, read through the instance; what raises goes on to `__getattr__`."""
        getter = ev.classes.attr(self.cls, "__getattr__")
        if not isinstance(getter, Func):
            return ev.attributes.bind(found, self, self.cls, place, name)
        try:
            return ev.attributes.bind(found, self, self.cls, place, name)
        except Raised as error:
            if error.kind != "AttributeError":
                raise
            return ev.calls.call(Bound(getter, self), [name], {}, place)

    def _by_getattribute(self, ev: Evaluator, getter: Func, name: str, place: SourcePlace) -> Any:
        try:
            return ev.calls.call(Bound(getter, self), [name], {}, place)
        except Raised as error:
            fallback = ev.classes.attr(self.cls, "__getattr__")
            if error.kind != "AttributeError":
                raise
            if not isinstance(fallback, Func):
                return ABSENT
            return ev.calls.call(Bound(fallback, self), [name], {}, place)

    def complete(self) -> None:
        """Run what was put off of its construction, because one of its attributes is needed."""

    def _foreign_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """An attribute that a base class outside of the source gives, where that is known."""
        return ABSENT

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        if isinstance(self.cls, Class) and not ev.classes.stores_plainly(self.cls):
            setter = ev.classes.attr(self.cls, "__setattr__")
            if isinstance(setter, Func):
                ev.calls.call(Bound(setter, self), [name, value], {}, place)
                return
            if ev.records.is_frozen(self.cls):
                kind = ev.records.refusal(self.cls)
                raise Raised(kind, f"cannot assign to field {name!r}", place)
        self.store(ev, name, value, place)

    def store(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        """`object.__setattr__(self, name, value)`."""
        if isinstance(self.cls, Class):
            if name == "__class__":
                self._change_class(ev, value, place)
                return
            if name in ev.classes.descriptors(self.cls):
                found = ev.classes.data_descriptor(self.cls, name)
                if found is not ABSENT:
                    ev.attributes.set_by(found, self, name, value, place)
                    return
            if not ev.classes.stores_plainly(self.cls) and not ev.classes.has_slot(self.cls, name):
                raise Raised("AttributeError", f"{self.class_name} has no slot {name!r}", place)
        ev.writes.put(self.attrs, name, value)

    def _change_class(self, ev: Evaluator, cls: Any, place: SourcePlace) -> None:
        """`self.__class__ = cls`, of objects that are laid out alike."""
        alike = all(isinstance(c, Class) and is_of_source(c) for c in (self.cls, cls))
        if not alike or type(self) is not Obj:
            raise Raised("TypeError", "an object that changes its class", place)
        if ev.writes.innermost is not None:
            raise Exhausted("an object changes its class in an undecided branch", place)
        self.cls = cls

    def del_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> None:
        """`del self.name`."""
        if isinstance(self.cls, Class):
            deleter = ev.classes.attr(self.cls, "__delattr__")
            if isinstance(deleter, Func):
                ev.calls.call(Bound(deleter, self), [name], {}, place)
                return
            if ev.records.is_frozen(self.cls):
                kind = ev.records.refusal(self.cls)
                raise Raised(kind, f"cannot delete field {name!r}", place)
        self.drop(ev, name, place)

    def drop(self, ev: Evaluator, name: str, place: SourcePlace) -> None:
        """`object.__delattr__(self, name)`."""
        if isinstance(self.cls, Class) and name in ev.classes.descriptors(self.cls):
            found = ev.classes.data_descriptor(self.cls, name)
            if found is not ABSENT:
                ev.attributes.delete_by(found, self, name, place)
                return
        known = isinstance(self.cls, Class) and not has_foreign_attributes(self.cls)
        if known and name not in self.attrs and not ev.mode.forward:
            raise Raised("AttributeError", f"{self.class_name} has no attribute {name!r}", place)
        ev.writes.put(self.attrs, name, ABSENT)


def is_not_implemented(value: Any) -> bool:
    """Whether a special method says that it has no answer."""
    return isinstance(value, Ext) and value.name == "NotImplemented"
