"""Enumerations: their members, and how those are found and combined."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Bound,
    Class,
    EnumMember,
    Ext,
    Func,
    Obj,
    Raised,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

_BASES = ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")
_FLAGS = ("Flag", "IntFlag")
_AUTO = "enum.auto"


class Enums(Part):
    """Makes members of enumerations, and finds them."""

    def members(self, cls: Class) -> tuple[EnumMember, ...] | None:
        """The members of an enumeration, each once; None for any other class."""
        if cls.is_enum is None:
            cls.is_enum = any(isinstance(b, Ext) and b.short in _BASES for b in cls.mro)
        if not cls.is_enum:
            return None
        if cls.members is None:
            cls.members = {}  # first, because a value may refer to members before it
            self._make(cls)
        return tuple(dict.fromkeys(cls.members.values()))

    def by_name(self, cls: Class) -> dict[str, EnumMember]:
        """The members by their names, aliases included."""
        self.members(cls)
        return dict(cls.members or {})

    def canonical(self, cls: Class) -> list[EnumMember] | None:
        """What iteration over an enumeration gives; None where that is not known."""
        members = list(self.members(cls) or ())
        if len(members) > 1 and any(isinstance(m.value, Unknown) for m in members):
            return None  # which of them are aliases is not known either
        if not cls.derives(*_FLAGS):
            return members
        return [m for m in members if isinstance(m.value, int) and m.value.bit_count() == 1]

    def contains(self, cls: Class, item: Any, place: SourcePlace) -> Any:
        """`item in cls`."""
        if isinstance(item, (Unknown, Alternatives)):
            return Unknown(f"membership in {cls.name}", place)
        self.ev.layers.pin(item)
        if isinstance(item, EnumMember):
            return item.cls is cls
        # Before 3.12 this was a TypeError for anything but a member.
        self.ev.exceptions.may_raise(place, "TypeError")
        return Unknown(f"membership of a value in {cls.name}", place)

    # -- how members are made ------------------------------------------------------------------

    def _make(self, cls: Class) -> None:
        assert cls.members is not None
        ignored = self._ignored(cls)
        last: list[Any] = []
        self._refuse_twice(cls, ignored)
        if cls.derives(*_FLAGS):
            self._refuse_auto(cls, ignored)
        for name, statements in list(cls.names.items()):
            if name in ignored or not _names_a_member(cls, name):
                continue
            if all(isinstance(s, ast.AnnAssign) and s.value is None for s in statements):
                continue
            value = self.ev.classes.own_attr(cls, name)
            if value is ABSENT or isinstance(value, (Func, Class)) or self._describes(value):
                continue
            cls.attrs.pop(name, None)  # the class holds the member under the name, not the value
            if isinstance(value, Obj) and value.class_name.endswith("auto"):
                value = self._next(cls, name, last)
            last.append(value)
            cls.members[name] = self._member(cls, name, value)

    @staticmethod
    def _refuse_twice(cls: Class, ignored: tuple[str, ...]) -> None:
        """Raise for a member that the body binds twice."""
        for name, statements in cls.names.items():
            bound = [s for s in statements if getattr(s, "value", None) is not None]
            if len(bound) > 1 and name not in ignored and _names_a_member(cls, name):
                raise Raised("TypeError", f"{name!r} already defined", cls.place)

    def _refuse_auto(self, cls: Class, ignored: tuple[str, ...]) -> None:
        """Raise for an `auto()` of a flag behind a value that is no number, as the body does."""
        if isinstance(self.ev.classes.attr(cls, "_generate_next_value_"), Func):
            return
        texts = False
        for name in cls.names:
            if name in ignored or not _names_a_member(cls, name):
                continue
            value = self.ev.classes.own_attr(cls, name)
            if texts and isinstance(value, Obj) and value.class_name.endswith("auto"):
                raise Raised("TypeError", "auto() of a flag behind a text", cls.place)
            texts = texts or isinstance(value, (str, tuple, float))

    def _ignored(self, cls: Class) -> tuple[str, ...]:
        value = self.ev.classes.own_attr(cls, "_ignore_") if "_ignore_" in cls.names else ()
        if isinstance(value, str):
            return tuple(value.replace(",", " ").split())
        return tuple(value) if isinstance(value, (list, tuple)) else ()

    def _describes(self, value: Any) -> bool:
        """Whether a value is a descriptor, which is no member."""
        if isinstance(value, Obj) and isinstance(value.cls, Class):
            names = ("__get__", "__set__", "__delete__")
            return any(self.ev.classes.attr(value.cls, n) is not ABSENT for n in names)
        return False

    def _next(self, cls: Class, name: str, last: list[Any]) -> Any:
        """What `auto()` stands for."""
        own = self.ev.classes.attr(cls, "_generate_next_value_")
        if isinstance(own, Func):
            args = [name, 1, len(last), list(last)]
            return self.ev.calls.call(own.of_kind("staticmethod"), args, {}, cls.place)
        if cls.derives("StrEnum"):
            return name.lower()
        last = [v.value if isinstance(v, EnumMember) else v for v in last]
        numbers = [v for v in last if isinstance(v, int)]
        if len(numbers) != len(last):
            return Unknown("auto() after a value that is no number", cls.place)
        if cls.derives(*_FLAGS):
            return 1 << max(max(numbers, default=0), 0).bit_length() if numbers else 1
        if numbers and numbers[-1] != max(numbers):
            return Unknown("auto(), which versions of Python differ in", cls.place)
        return numbers[-1] + 1 if numbers else 1

    def _member(self, cls: Class, name: str, value: Any) -> EnumMember:
        new = self.ev.classes.attr(cls, "__new__")
        args = list(value) if isinstance(value, tuple) else [value]
        made = EnumMember(cls, name, ABSENT)
        if isinstance(new, Func):
            found: Any = self.ev.calls.call_function(new, [cls, *args], {}, cls.place)
            if isinstance(found, EnumMember):
                made = found
                made.name = name
                made.value = value if made.value is ABSENT else made.value
            else:
                made.value = Unknown("the value of a member", cls.place)
        else:
            made.value = self._converted(cls, value)
        members: dict[str, EnumMember] = cls.members or {}
        for other in members.values():
            if self._equal(other.value, made.value) is True:
                return other
        init = self.ev.classes.attr(cls, "__init__")
        if isinstance(init, Func):
            self.ev.calls.call_function(init, [made, *args], {}, cls.place)
        return made

    def _converted(self, cls: Class, value: Any) -> Any:
        """The value of a member that is plain data as well."""
        if cls.derives("Flag") and not isinstance(value, (int, Unknown)):
            # Which exception it is differs between versions of Python.
            raise Raised("TypeError", "a flag that is no number", cls.place)
        if cls.derives(*_FLAGS) and isinstance(value, int) and value < 0:
            return Unknown("a negative flag, which versions of Python differ in", cls.place)
        for name, kind in (("str", str), ("int", int), ("float", float)):
            derives = cls.derives(name, *(("IntEnum", "IntFlag") if name == "int" else ()))
            if derives and not isinstance(value, (kind, Unknown)):
                args = list(value) if isinstance(value, tuple) else [value]
                return self.ev.calls.call(self.ev.builtins[name], args, {}, cls.place)
        return value

    def _equal(self, left: Any, right: Any) -> bool | None:
        try:
            found = self.ev.comparisons.compare(ast.Eq(), left, right, SourcePlace("", 1))
        except Raised:
            return None
        return self.ev.operators.truth(found)

    # -- how they are found --------------------------------------------------------------------

    def by_value(self, cls: Class, args: Args, place: SourcePlace) -> Any:
        """`cls(value)`."""
        members = self.members(cls) or ()
        if not members or len(args) != 1:
            return Unknown(f"an enumeration made by {cls.name}()", place)
        value = args[0]
        if isinstance(value, (Unknown, Alternatives)):
            self.ev.exceptions.may_raise(place, "ValueError")
            return Unknown(f"a member of {cls.name}", place)
        self.ev.layers.pin(value)
        if isinstance(value, EnumMember) and value.cls is cls:
            return value
        for member in members:
            equal = self._equal(member.value, value)
            if equal is None:
                return Unknown(f"a member of {cls.name}", place)
            if equal:
                return member
        missing = self.ev.classes.attr(cls, "_missing_")
        if isinstance(missing, Func):
            found = self.ev.calls.call(Bound(missing, cls), [value], {}, place)
            if isinstance(found, (Unknown, Alternatives)):
                return Unknown(f"a member of {cls.name}", place)
            if isinstance(found, EnumMember) and cls in found.cls.mro:
                return found
            if found is not None:
                raise Raised("TypeError", "_missing_() gave something that is no member", place)
        elif cls.derives(*_FLAGS) and isinstance(value, int):
            return self._combination(cls, int(value), place)
        raise Raised("ValueError", f"{value!r} is not a valid {cls.name}", place)

    def by_key(self, cls: Class, key: Any, place: SourcePlace) -> Any:
        """`cls[name]`."""
        if isinstance(key, (Unknown, Alternatives)):
            self.ev.exceptions.may_raise(place, "KeyError", "TypeError")
            return Unknown("an enumeration member that is not known", place)
        found = self.by_name(cls).get(key) if isinstance(key, str) else None
        if found is None:
            raise Raised("KeyError", repr(key), place)
        return found

    def _combination(self, cls: Class, value: int, place: SourcePlace) -> Any:
        """The member of a Flag with these bits, or a combination of members."""
        members = self.members(cls) or ()
        for member in members:
            if member.value == value:
                return member
        mask = 0
        for member in members:
            mask |= member.value if isinstance(member.value, int) else 0
        if value < 0 or value & ~mask:
            return Unknown(f"a combination of {cls.name} with other bits", place)
        return EnumMember(cls, None, value)

    def combine(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        """`left | right` of flags; ABSENT where these are none."""
        fn = {
            "BitOr": int.__or__, "BitAnd": int.__and__, "BitXor": int.__xor__,
        }.get(op)  # fmt: skip
        flag = left if isinstance(left, EnumMember) else right
        if fn is None or not isinstance(flag, EnumMember) or not flag.cls.derives(*_FLAGS):
            return ABSENT
        values = []
        for side in (left, right):
            if isinstance(side, EnumMember) and side.cls is flag.cls:
                values.append(side.value)
            elif isinstance(side, int) and flag.cls.derives("IntFlag"):
                values.append(side)
            else:
                return ABSENT
        if not all(isinstance(v, int) for v in values):
            return Unknown("flags whose values are not known", place)
        return self.by_value(flag.cls, [fn(*values)], place)

    def inverted(self, member: EnumMember, place: SourcePlace) -> Any:
        """`~member` of a Flag."""
        mask = 0
        for each in self.members(member.cls) or ():
            mask |= each.value if isinstance(each.value, int) else 0
        if not isinstance(member.value, int) or member.cls.derives("IntFlag"):
            return Unknown("an inverted flag", place)
        return self.by_value(member.cls, [mask & ~member.value], place)


def _names_a_member(cls: Class, name: str) -> bool:
    dunder = name.startswith("__") and name.endswith("__")
    sunder = name.startswith("_") and name.endswith("_")
    return not dunder and not sunder and not name.startswith(f"_{cls.name}__")
