"""Special methods of objects of the source: operators, comparison, and how objects are keys."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.comparisons import holds_objects, objects_of
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.plain import PLAIN
from fibcore.elaborate.python.plain_types import is_plain
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    EnumMember,
    Func,
    Mod,
    Obj,
    Raised,
    has_foreign_attributes,
    hashable,
    is_not_implemented,
    plain_of,
)
from fibcore.model.tree import SourcePlace, Unknown

_BINARY = {
    "Add": "add", "Sub": "sub", "Mult": "mul", "Div": "truediv", "FloorDiv": "floordiv",
    "Mod": "mod", "Pow": "pow", "LShift": "lshift", "RShift": "rshift", "BitOr": "or",
    "BitXor": "xor", "BitAnd": "and", "MatMult": "matmul",
}  # fmt: skip
_UNARY = {"UAdd": "__pos__", "USub": "__neg__", "Invert": "__invert__"}
_ORDER = {
    "Lt": ("__lt__", "__gt__"), "LtE": ("__le__", "__ge__"),
    "Gt": ("__gt__", "__lt__"), "GtE": ("__ge__", "__le__"),
}  # fmt: skip
_SOURCE = (Obj, EnumMember)


class SpecialMethods(Part):
    """Asks objects for what Python asks them."""

    def of(self, value: Any, name: str, args: list[Any], place: SourcePlace) -> Any:
        """What a special method gives; ABSENT where there is none, or it has no answer."""
        if not isinstance(value, _SOURCE) or not isinstance(value.cls, Class):
            return ABSENT
        found = value.special(self.ev, name, args, place)
        return ABSENT if is_not_implemented(found) else found

    def has(self, value: Any, name: str) -> bool:
        """Whether the class of an object of the source has a special method."""
        if not isinstance(value, _SOURCE) or not isinstance(value.cls, Class):
            return False
        return self.ev.classes.attr(value.cls, name) is not ABSENT

    # -- operators -----------------------------------------------------------------------------

    def binary(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        """`left + right` and the like; ABSENT where neither side is an object of the source."""
        name = _BINARY.get(op)
        if name is None or not (isinstance(left, _SOURCE) or isinstance(right, _SOURCE)):
            return ABSENT
        found = self.ev.enums.combine(op, left, right, place)
        if found is not ABSENT:
            return found
        sides = [(left, f"__{name}__", right), (right, f"__r{name}__", left)]
        if self._goes_first(right, left, sides[1][1]):
            sides.reverse()
        if _class_of(left) is _class_of(right) and _class_of(left) is not None:
            sides = sides[:1]
        for owner, method, other in sides:
            found = self.of(owner, method, [other], place)
            if found is not ABSENT:
                return found
        return self._refused(op, left, right, place)

    def plain_members(self, op: str, left: Any, right: Any) -> tuple[Any, Any] | None:
        """Both sides with members that are plain data as such; None where there are none."""
        name = _BINARY.get(op)
        if any(self.has(side, f"__{name}__") for side in (left, right)):
            return None
        if op in ("BitOr", "BitAnd", "BitXor") and any(
            isinstance(s, EnumMember) and s.cls.derives("IntFlag") for s in (left, right)
        ):
            return None
        found = plain_of(left), plain_of(right)
        return None if found[0] is left and found[1] is right else found

    def union(self, left: Any, right: Any, place: SourcePlace) -> Any:
        """`int | str`: a union of types, which `isinstance` takes as a tuple of them."""
        return Unknown("a union", place)

    def index(self, value: Any, place: SourcePlace) -> Any:
        """An object as the position that it stands for."""
        if isinstance(value, EnumMember) and value.mixed:
            return value.value
        found = self.of(value, "__index__", [], place)
        if found is not ABSENT:
            if is_plain(found) and not isinstance(found, int):
                raise Raised("TypeError", "__index__ returned no int", place)
            return found
        if self._is_bare(value) or (isinstance(value, Obj) and value.lacks(self.ev, "__index__")):
            raise Raised("TypeError", f"{plain.kind_name(value)} is no index", place)
        return Unknown("a position that is an object", place)

    def slice_of(self, key: slice, place: SourcePlace) -> slice:
        """A slice of plain data, with the positions that objects stand for."""
        bounds = (key.start, key.stop, key.step)
        if not any(isinstance(bound, _SOURCE) for bound in bounds):
            return key
        return slice(*(self.index(b, place) if isinstance(b, _SOURCE) else b for b in bounds))

    def in_place(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        """`left += right` by a method of its own; ABSENT without one."""
        name = _BINARY.get(op)
        return ABSENT if name is None else self.of(left, f"__i{name}__", [right], place)

    def unary(self, op: str, value: Any, place: SourcePlace) -> Any:
        """`-value` and the like."""
        if isinstance(value, EnumMember) and op == "Invert" and not self.has(value, "__invert__"):
            return self.ev.enums.inverted(value, place)
        found = self.of(value, _UNARY[op], [], place)
        return self._refused(op, value, value, place) if found is ABSENT else found

    def order(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        """`left < right` and the like; ABSENT where neither side is an object of the source."""
        if not (isinstance(left, _SOURCE) or isinstance(right, _SOURCE)):
            return ABSENT
        forward, backward = _ORDER[op]
        sides = [(left, forward, right), (right, backward, left)]
        if self._goes_first(right, left, backward):
            sides.reverse()
        opposite = {"Lt": "Gt", "LtE": "GtE", "Gt": "Lt", "GtE": "LtE"}[op]
        for owner, method, other in sides:
            found = self.of(owner, method, [other], place)
            if found is ABSENT:
                name = op if owner is left else opposite
                found = self.ev.records.ordered(name, owner, other, place)
            if found is not ABSENT:
                return found
        found = self._refused(op, left, right, place)
        self.ev.exceptions.may_raise(place, "TypeError")
        return found

    def _goes_first(self, right: Any, left: Any, method: str) -> bool:
        """Whether the right side is asked first: its class is below the left one's."""
        inner, outer = _class_of(right), _class_of(left)
        if inner is None or outer is None or inner is outer or outer not in inner.mro:
            return False
        own = self.ev.classes.attr(inner, method)
        return own is not ABSENT and own is not self.ev.classes.attr(outer, method)

    def _refused(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        """Raise TypeError where both sides are known not to have the operation."""
        shown = f"{op} on {plain.kind_name(left)} and {plain.kind_name(right)}"
        if op == "Mod" and isinstance(left, (str, bytes)):
            return Unknown(shown, place)
        for side, other in ((left, right), (right, left)):
            repeats = op == "Mult" and isinstance(side, (str, bytes, list, tuple))
            if repeats and self.has(other, "__index__"):
                count = self.index(other, place)
                return self.ev.operators.combine(ast.Mult, side, count, place)
        if all(self._is_bare(side) for side in (left, right)):
            raise Raised("TypeError", f"unsupported operation: {shown}", place)
        return Unknown(shown, place)

    def _is_bare(self, value: Any) -> bool:
        """Whether a value has no operations but those that its class says."""
        if isinstance(value, PLAIN):
            return True
        if isinstance(value, EnumMember):
            return not value.mixed and not value.cls.derives("Flag")
        if type(value) is not Obj or not isinstance(value.cls, Class):
            return False
        record = self.ev.records.of(value.cls)
        plain_record = record is None or (record.exact and not record.row)
        return plain_record and not has_foreign_attributes(value.cls)

    # -- keys ----------------------------------------------------------------------------------

    def key(self, holder: Any, key: Any, place: SourcePlace) -> Any:
        """The key of a dict or set that equals another one, else that one itself.

        Raises:
            Raised: it cannot be a key.
        """
        if not isinstance(key, (Obj, tuple)) or isinstance(key, Mod):
            return key
        if isinstance(key, tuple) and not holds_objects(key):
            return key
        kind = self._hashed(key, place)
        if kind == "identity":
            return key
        if kind == "":
            raise Raised("TypeError", f"unhashable type: {plain.kind_name(key)!r}", place)
        for other in holder:
            if other is key:
                return other
            if isinstance(other, (Obj, tuple)):
                equal = self.ev.operators.truth(self.ev.comparisons.equal(key, other, place))
                if equal is None:
                    return Unknown("a key that is compared with something unknown", place)
                if equal:
                    return other
        return key

    def _hashed(self, value: Any, place: SourcePlace) -> str:
        """How a value is found among keys: by identity, by "fields", or "" where it cannot be."""
        if isinstance(value, tuple):
            kinds = {self._hashed(item, place) for item in objects_of(value)}
            return "" if "" in kinds else "fields" if "fields" in kinds else "identity"
        if not isinstance(value, Obj) or isinstance(value, Mod) or not isinstance(value.cls, Class):
            return "identity"
        attr = self.ev.classes.attr
        own = attr(value.cls, "__hash__")
        if isinstance(own, Func):
            found = self.ev.calls.call_function(own, [value], {}, place)  # or what it raises
            if is_plain(found) and not isinstance(found, int):
                raise Raised("TypeError", "__hash__ method should return an integer", place)
            return "fields"
        record = self.ev.records.of(value.cls)
        if record is not None and ("__eq__" not in value.cls.names or record.makes_hash(value.cls)):
            kind = self.ev.records.hashed(value.cls)
            held = [value.attrs[n] for n in record.compared if n in value.attrs]
            return "" if kind == "fields" and not all(map(hashable, held)) else kind
        if own is None or isinstance(attr(value.cls, "__eq__"), Func):
            return ""
        return "identity"


def _class_of(value: Any) -> Class | None:
    if isinstance(value, _SOURCE) and isinstance(value.cls, Class):
        return value.cls
    return None
