"""What Python generates for records beside `__init__`: comparison, text, and rows as tuples."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class, Native, Obj, Raised
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.record_types import Record

_ORDER = {"Lt": "__lt__", "LtE": "__le__", "Gt": "__gt__", "GtE": "__ge__"}


class RecordMethods:
    """Compares records and says what their instances are."""

    ev: Evaluator

    def of(self, cls: Any) -> Record | None:
        """The record that instances of a class are."""
        raise NotImplementedError

    def own(self, cls: Class) -> Record | None:
        """The record that a class itself is."""
        raise NotImplementedError

    def plain_methods(self, cls: Any) -> bool:
        """Whether a class has no special methods that nobody here knows."""
        record = self.of(cls)
        return record is None or record.exact

    def is_frozen(self, cls: Class) -> bool:
        """Whether fields of instances cannot be assigned to."""
        record = self.of(cls)
        return record is not None and record.exact and (record.row or record.option("frozen"))

    def refusal(self, cls: Class) -> str:
        """The exception that an assignment to a field of a frozen record raises."""
        record = self.of(cls)
        return "AttributeError" if record is not None and record.row else "FrozenInstanceError"

    # -- rows ----------------------------------------------------------------------------------

    def row(self, obj: Obj) -> list[Any] | None:
        """The items of an instance that is a tuple; None for any other."""
        record = self.of(obj.cls)
        if record is None or not record.row:
            return None
        return [obj.attrs.get(name, Unknown("a missing item")) for name in record.names]

    def attr_of_class(self, cls: Class, name: str) -> Any:
        """`_make`, `_fields` and the like of a NamedTuple; ABSENT for any other name."""
        record = self.of(cls)
        if record is None:
            return ABSENT
        if not record.exact:
            if name == "__struct_fields__" and cls.derives("Struct"):
                return record.names
            dunder = name.startswith("__") and name not in ("__init__", "__new__")
            return Unknown.attribute(f"{name} of a record") if dunder else ABSENT
        if not record.row:
            return self._of_dataclass(record, name)
        if name == "_fields":
            return record.names
        if name == "_make":

            def make(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
                items = ev.operators.items(args[0]) if len(args) == 1 else None
                if items is None:
                    return Unknown("a row made of something unknown", place)
                return ev.construction.construct(cls, items, {}, place)

            return Native("_make", make)
        if name in ("_field_defaults", "count", "index", "_replace", "_asdict"):
            return Unknown.attribute(f"{name} of a NamedTuple")
        return ABSENT

    def _of_dataclass(self, record: Record, name: str) -> Any:
        if name == "__match_args__":
            return tuple(record.positional)
        return Unknown.attribute(f"{name} of a dataclass") if name.startswith("__data") else ABSENT

    def attr_of_row(self, obj: Obj, name: str) -> Any:
        """`_replace`, `_asdict` and the like of an instance; ABSENT for any other name."""
        record = self.of(obj.cls)
        if record is None or not record.row:
            return ABSENT
        names = record.names
        if name == "_asdict":
            return Native(name, lambda ev, a, k, p: {n: obj.attrs[n] for n in names})
        if name == "_replace":

            def replace(ev: Evaluator, args: Any, kwargs: Any, place: SourcePlace) -> Any:
                if args or not set(kwargs) <= set(names):
                    kind = "TypeError" if args else "ValueError"
                    raise Raised(kind, "_replace() with other fields", place)
                new = {**{n: obj.attrs[n] for n in names}, **kwargs}
                return ev.construction.construct(obj.cls, [], new, place)

            return Native(name, replace)
        if name in ("count", "index"):
            return self.ev.plain.attribute(tuple(self.row(obj) or ()), name, SourcePlace("", 1))
        return self.attr_of_class(obj.cls, name)

    # -- comparison ----------------------------------------------------------------------------

    def equal(self, obj: Obj, other: Any, place: SourcePlace) -> Any:
        """`obj == other` by the fields; ABSENT where that does not decide."""
        record = self.of(obj.cls)
        if record is None:
            return ABSENT
        if record.row:
            items = self.row(other) if isinstance(other, Obj) else other
            if not isinstance(items, (list, tuple)) or (items is other and isinstance(items, list)):
                return ABSENT
            return self._compared("Eq", tuple(self.row(obj) or ()), tuple(items), place)
        if not record.exact:
            if not record.option("eq"):
                return ABSENT
            return True if obj is other else Unknown("whether two records are equal", place)
        found = self._with(obj.cls, "eq", "__eq__")
        if found is None:
            return ABSENT
        record = found
        if not isinstance(other, Obj) or other.cls is not obj.cls:
            return ABSENT
        sides = [self._fields(record, o, place) for o in (obj, other)]
        return self._compared("Eq", sides[0], sides[1], place)

    def ordered(self, op: str, obj: Any, other: Any, place: SourcePlace) -> Any:
        """`obj < other` of records with an order; ABSENT of any others."""
        if op not in _ORDER or not isinstance(obj, Obj):
            return ABSENT
        record = self.of(obj.cls)
        if record is None:
            return ABSENT
        if record.row:
            right = self.row(other) if isinstance(other, Obj) else other
            if not isinstance(right, (list, tuple)) or isinstance(other, list):
                return ABSENT
            return self._compared(op, tuple(self.row(obj) or ()), tuple(right), place)
        if not record.exact:
            return Unknown("the order of records", place)
        ordered = self._with(obj.cls, "order", _ORDER[op])
        if ordered is None or not isinstance(other, Obj) or other.cls is not obj.cls:
            return ABSENT
        sides = [self._fields(ordered, o, place) for o in (obj, other)]
        return self._compared(op, sides[0], sides[1], place)

    def _with(self, cls: Any, option: str, method: str) -> Record | None:
        """The nearest record of a class that has the methods of an option."""
        for base in cls.mro:
            if isinstance(base, Class):
                if method in base.names or method in base.attrs:
                    return None
                record = self.own(base)
                if record is not None and record.option(option):
                    return record
        return None

    def _fields(self, record: Record, obj: Obj, place: SourcePlace) -> tuple[Any, ...]:
        """What is compared of an instance."""
        return tuple(
            obj.attrs[name] if name in obj.attrs else self.ev.attributes.get(obj, name, place)
            for name in record.compared
        )

    def _compared(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        return self.ev.comparisons.compare(getattr(ast, op)(), left, right, place)

    def hashed(self, cls: Class) -> str:
        """How instances hash: "identity", "fields", or "" where they do not."""
        record = self.of(cls)
        if record is None:
            return "identity"
        if record.row or not record.exact:
            return "fields"
        if record.option("unsafe_hash") or (record.option("eq") and record.option("frozen")):
            return "fields"
        return "" if record.option("eq") else "identity"

    # -- text ----------------------------------------------------------------------------------

    def shown(self, obj: Obj, place: SourcePlace) -> Any:
        """`repr(obj)` of a record; ABSENT where it is not generated."""
        record = self.of(obj.cls)
        if record is None or not record.exact or not record.option("repr"):
            return ABSENT
        parts = []
        for field in record.fields:
            if field.init_only or not field.flag("repr"):
                continue
            value = obj.attrs.get(field.name, ABSENT)
            if value is ABSENT:  # the class may have it
                value = self.ev.attributes.get(obj, field.name, place)
            text = self.ev.texts.text(value, place, "r")
            if not isinstance(text, str):
                return Unknown("text of a record", place)
            parts.append(f"{field.name}={text}")
        name = obj.cls.name if record.row else obj.cls.named(self.ev, "__qualname__")
        if not isinstance(name, str):
            return Unknown("text of a record", place)
        return f"{name}({', '.join(parts)})"
