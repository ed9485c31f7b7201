"""Dataclasses and their like: classes whose annotated names are fields."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import ABSENT, Absent, Args, Class, Func, Kwargs, Obj
from fibcore.model.tree import SourcePlace, Unknown

_BASES = ("NamedTuple", "Struct", "BaseModel")
"""Base classes of records: of typing, msgspec and pydantic."""
_DECORATORS = ("dataclass", "define", "frozen", "attrs")
_FIELDS = ("field", "Field")

FieldSource = tuple[Class, ast.expr]
"""The expression of a field's default, and the class in whose scope it stands."""


class Records(Part):
    """Reads the fields of records, and makes their instances."""

    def fields(self, cls: Class) -> dict[str, FieldSource | Absent] | None:
        """The fields of a record and where their defaults are; None for any other class."""
        if not self._is_record(cls):
            return None
        fields: dict[str, FieldSource | Absent] = {}
        for base in reversed(cls.mro):
            if not isinstance(base, Class):
                continue
            for statement in base.node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    if "ClassVar" in ast.unparse(statement.annotation):
                        continue
                    name = statement.target.id
                    fields[name] = ABSENT if statement.value is None else (base, statement.value)
        return fields

    def _is_record(self, cls: Class) -> bool:
        if cls.derives(*_BASES, *self.ev.environment.record_bases):
            return True
        return any(
            decorator.rpartition(".")[2] in _DECORATORS
            for base in cls.mro
            if isinstance(base, Class)
            for decorator in base.decorators
        )

    def default(self, source: FieldSource, place: SourcePlace) -> Any:
        """The default of a record's field."""
        base, node = source
        value = self.ev.expressions.eval
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _FIELDS:
            for keyword in node.keywords:
                if keyword.arg == "default":
                    return value(keyword.value, base.env)
                if keyword.arg == "default_factory":
                    return self.ev.calls.call(value(keyword.value, base.env), [], {}, place)
            return Unknown("a field without a default", place)
        return value(node, base.env)

    def fill(
        self,
        obj: Obj,
        fields: dict[str, FieldSource | Absent],
        args: Args,
        kwargs: Kwargs,
        place: SourcePlace,
    ) -> None:
        """Do what the generated `__init__` of a record does."""
        given = dict(zip(fields, args, strict=False))
        given.update(kwargs)
        for name, source in fields.items():
            if name in given:
                value = given[name]
            elif isinstance(source, Absent):
                value = Unknown(f"field {name} without a value", place)
            else:
                value = self.default(source, place)
            obj.attrs[name] = value
        obj.args = dict(obj.attrs)
        post = self.ev.classes.attr(obj.cls, "__post_init__")
        if isinstance(post, Func):
            self.ev.calls.call_function(post, [obj], {}, place)
