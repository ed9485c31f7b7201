"""Members of enumerations of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised, Value
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values.classes import Class
    from fibcore.model.tree import SourcePlace

MIXED = ("IntEnum", "StrEnum", "IntFlag", "str", "int", "float")
"""Bases whose members are plain data as well."""


class EnumMember(Value):
    """A member of an enumeration of the source; of a Flag, a combination of members too.

    Attributes:
        name: Its name; None for a combination.
        value: What `value` is.
        attrs: Attributes that its `__init__` or `__new__` gave it.
    """

    __slots__ = ("_mixed", "attrs", "cls", "name", "value")

    def __init__(self, cls: Class, name: str | None, value: Any) -> None:
        self.cls = cls
        self.name = name
        self.value = value
        self.attrs: dict[str, Any] = {}
        self._mixed: bool | None = None

    @property
    def mixed(self) -> bool:
        """Whether it is plain data as well: an int or a text."""
        if self._mixed is None:  # asked for by every comparison and hash
            self._mixed = self.cls.derives(*MIXED)
        return self._mixed

    def __eq__(self, other: object) -> bool:
        if isinstance(other, EnumMember):
            if other.cls is self.cls:
                # Members of equal values are one member; combinations have no name.
                return other.name == self.name if self.name else bool(other.value == self.value)
            return self.mixed and other.mixed and bool(self.value == other.value)
        if self.mixed:
            return bool(self.value == other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.value) if self.mixed else hash(self.name)

    def __repr__(self) -> str:
        return f"{self.cls.name}.{self.name}"

    @property
    def dotted_name(self) -> str:
        return f"{self.cls.qualified}.{self.name}"

    @property
    def instance_class(self) -> Any:
        return self.cls

    def type_of(self, place: SourcePlace) -> Any:
        return self.cls

    def is_python(self, name: str, kind: type) -> bool:
        bases = {"int": ("IntEnum", "IntFlag"), "str": ("StrEnum",)}.get(name, ())
        return self.cls.derives(name, *bases)

    def is_of(self, cls: Any) -> bool | None:
        return cls in self.cls.mro

    def is_of_external(self, name: str) -> bool | None:
        return name == "object" or self.cls.derives(name)

    def same_as(self, other: Any) -> bool:
        return bool(self.cls is other.cls and self == other)

    def truth(self, ev: Evaluator) -> bool | None:
        found = self.special(ev, "__bool__", [], self.cls.place)
        if found is not ABSENT:
            return ev.operators.truth(found)
        if self.mixed or self.cls.derives("Flag"):
            return ev.operators.truth(self.value)
        return True

    def special(self, ev: Evaluator, name: str, args: Args, place: SourcePlace) -> Any:
        """What a special method of its class gives; ABSENT without such a method."""
        method = ev.classes.attr(self.cls, name)
        if method is ABSENT:
            return ABSENT
        return ev.calls.call(ev.attributes.bind(method, self, self.cls, place), args, {}, place)

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        found = self.special(ev, "__eq__", [other], place)
        if found is not ABSENT:
            return found
        ev.layers.pin(other)
        if self.mixed and isinstance(other, Value) and not isinstance(other, EnumMember):
            return ABSENT
        if self._may_be(other):
            return Unknown("a comparison of members whose values are not known")
        return bool(self == other)

    def _may_be(self, other: Any) -> bool:
        """Whether it may be an alias of another member, because a value is not known."""
        return (
            isinstance(other, EnumMember)
            and self.cls is other.cls
            and self is not other
            and (isinstance(self.value, Unknown) or isinstance(other.value, Unknown))
        )

    def identical(self, other: Any) -> bool | None:
        if self._may_be(other):
            return None
        return isinstance(other, EnumMember) and self.cls is other.cls and self == other

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in ("name", "value", "_value_", "_name_"):
            found = ev.classes.attr(self.cls, name)
            if found is ABSENT or name.startswith("_"):
                return self._own(name, place)
            return ev.attributes.bind(found, self, self.cls, place)
        if name in self.attrs:
            return self.attrs[name]
        if name == "__class__":
            return self.cls
        if name in ev.enums.by_name(self.cls):
            return Unknown("a member of a member, which versions of Python differ in", place)
        found = ev.classes.attr(self.cls, name)
        if found is not ABSENT:
            return ev.attributes.bind(found, self, self.cls, place, name)
        if self.mixed:
            return ev.plain.attribute(self.value, name, place)
        return Unknown(f"{name} of a member", place) if name.startswith("_") else ABSENT

    def _own(self, name: str, place: SourcePlace) -> Any:
        if "value" in name:
            return self.value
        if isinstance(self.value, Unknown) and next(iter(self.cls.members or ()), "") != self.name:
            return Unknown("the name of a member that may be another one's alias", place)
        return Unknown("the name of a combination", place) if self.name is None else self.name

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        if name in ("name", "value"):
            raise Raised("AttributeError", f"member {name} cannot be set", place)
        if name == "_value_":
            self.value = value
            return
        ev.writes.put(self.attrs, name, value)

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        if self.mixed and isinstance(self.value, str):
            return len(self.value)
        found = self.special(ev, "__len__", [], place)
        return Unknown("the length of a member", place) if found is ABSENT else found

    def items(self, ev: Evaluator) -> list[Any] | None:
        return list(self.value) if self.mixed and isinstance(self.value, str) else None

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        if (
            isinstance(item, EnumMember)
            and item.cls is self.cls
            and self.cls.derives("Flag", "IntFlag")
        ):
            if not isinstance(item.value, int) or not isinstance(self.value, int):
                return Unknown("membership in a flag whose value is not known", place)
            return item.value & self.value == item.value
        if self.mixed and isinstance(self.value, str) and isinstance(item, str):
            return item in self.value
        return Unknown("membership in a member", place)

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        if self.mixed and isinstance(self.value, str):
            return ev.operators.subscript(self.value, key, place)
        found = self.special(ev, "__getitem__", [key], place)
        return Unknown(f"{self!r}[...]", place) if found is ABSENT else found

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return ev.classes.attr(self.cls, "__call__") is not ABSENT

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        method = ev.classes.attr(self.cls, "__call__")
        if method is ABSENT:
            raise Raised("TypeError", f"{self!r} is not callable", place)
        bound = ev.attributes.bind(method, self, self.cls, place)
        return ev.calls.call(bound, args, kwargs, place)


def plain_of(value: Any) -> Any:
    """A member that is plain data as well, as that; any other value as it is."""
    if isinstance(value, EnumMember) and value.mixed:
        return value.value
    return value
