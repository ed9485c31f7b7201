"""Dataclasses and their like: classes whose annotated names are fields."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.record_methods import RecordMethods
from fibcore.elaborate.python.record_types import Field, FieldSource, Record
from fibcore.elaborate.python.values import ABSENT, Absent, Args, Class, Func, Kwargs, Obj, Raised
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_ROW = "NamedTuple"
_BASES = (_ROW, "Struct", "BaseModel")
"""Base classes of records: of typing, msgspec and pydantic."""
_DATACLASS = ("dataclass", "dataclasses.dataclass")
_DECORATORS = ("dataclass", "define", "frozen", "attrs")
_FIELDS = ("field", "Field", "ib", "attrib")
_MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


class Records(RecordMethods, Part):
    """Reads the fields of records, and makes their instances."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._own: dict[Class, Record | None] = {}
        self._defaults: dict[tuple[Class, str], Any] = {}

    def fields(self, cls: Class) -> dict[str, FieldSource | Absent] | None:
        """The fields of a record and where their defaults are; None for any other class."""
        record = self.of(cls)
        return None if record is None else {f.name: f.source for f in record.fields}

    def of(self, cls: Any) -> Record | None:
        """The record that instances of a class are: of the class itself, or of a base of it."""
        if not isinstance(cls, Class):
            return None
        for base in cls.mro:
            if isinstance(base, Class):
                record = self.own(base)
                if record is not None:
                    return record
        return None

    def own(self, cls: Class) -> Record | None:
        """The record that a class itself is."""
        if cls not in self._own:
            self._own[cls] = self._read(cls)
        return self._own[cls]

    def constructor(self, cls: Class) -> Record | None:
        """The record whose generated `__init__` constructs a class; None where another one does."""
        for base in cls.mro:
            if isinstance(base, Class):
                if "__init__" in base.names or "__init__" in base.attrs:
                    return None
                record = self.own(base)
                if record is not None and record.option("init"):
                    return record
        return None

    # -- what a class says ---------------------------------------------------------------------

    def _read(self, cls: Class) -> Record | None:
        decorator = next(
            (d for d in cls.node.decorator_list if _called(d).rpartition(".")[2] in _DECORATORS),
            None,
        )
        lenient = cls.derives(*_BASES, *self.ev.environment.record_bases)
        if decorator is None and not lenient:
            return None
        row = any(getattr(b, "short", "") == _ROW for b in cls.bases)
        if decorator is None and not row and cls.derives(_ROW):
            return None  # a class below a NamedTuple adds no fields
        exact = row or (decorator is not None and _called(decorator) in _DATACLASS)
        options = _flags(decorator)
        fields: dict[str, Field] = {}
        for base in reversed(cls.mro):
            if isinstance(base, Class) and (base is cls or not exact or self.own(base)):
                only = base is cls and options.get("kw_only", False)
                known = self.own(base) if base is not cls else None
                found = (
                    {f.name: f for f in known.fields}
                    if known is not None and known.exact
                    else _annotated(base, only)
                )
                fields.update(found)
        record = Record(cls, exact, row, tuple(fields.values()), options)
        self._keep_defaults(record)
        if exact:
            self._check(record, cls)
        if exact and not row and options.get("slots"):  # Python makes a second class of it
            self.ev.classes.announce(cls, {}, cls.place)
        return record

    def _keep_defaults(self, record: Record) -> None:
        """Keep the defaults of a class whose body has been run, so that none is evaluated twice."""
        cls = record.cls
        for field in record.fields if cls.complete else ():
            if isinstance(field.source, Absent) or field.source[0] is not cls:
                continue
            node = field.options.get("default") if field.options else field.source[1]
            if node is not None and field.name in cls.attrs:
                self._defaults[_key(cls, node)] = cls.attrs[field.name]

    def _check(self, record: Record, cls: Class) -> None:
        """Raise what Python does for a dataclass that it refuses."""
        for field in () if record.row else record.fields:
            mine = not isinstance(field.source, Absent) and field.source[0] is cls
            if mine and not field.options and _is_mutable(field.source[1]):  # type: ignore[index]
                why = f"mutable default for field {field.name} is not allowed"
                raise Raised("ValueError", why, cls.place)
        for base in () if record.row else cls.mro[1:]:
            known = self.own(base) if isinstance(base, Class) else None
            if known is None or not known.exact or known.row:
                continue
            if known.option("frozen") != record.option("frozen"):
                why = "frozen and other dataclasses cannot inherit from each other"
                raise Raised("TypeError", why, cls.place)
        seen = False
        for field in record.fields if record.row or record.option("init") else ():
            if field.kw_only or not field.flag("init"):
                continue
            if seen and not field.has_default:
                why = f"non-default argument {field.name!r} follows default argument"
                raise Raised("TypeError", why, cls.place)
            seen = seen or field.has_default

    # -- how instances are made ----------------------------------------------------------------

    def default(self, source: FieldSource, place: SourcePlace) -> Any:
        """The default of a record's field."""
        base, node = source
        options = _field_options(node)
        if options is None:
            return self._evaluated(base, node)
        if "default" in options:
            return self._evaluated(base, options["default"])
        if "default_factory" in options or "factory" in options:
            factory = options.get("default_factory", options.get("factory"))
            assert factory is not None
            return self.ev.calls.call(self._evaluated(base, factory), [], {}, place)
        return Unknown("a field without a default", place)

    def _evaluated(self, base: Class, node: ast.expr) -> Any:
        """A default, which is evaluated once, when the class is made."""
        if isinstance(node, ast.Constant):
            return node.value
        key = _key(base, node)
        if key not in self._defaults:
            with self.ev.aside():
                self._defaults[key] = self.ev.classes.bodies.expression(base, node)
        return self._defaults[key]

    def fill(
        self, obj: Obj, record: Record, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> None:
        """Do what the generated `__init__` of a record does."""
        if record.exact:
            given = self._bound(record, args, kwargs, place)
        else:
            given = dict(zip((f.name for f in record.fields), args, strict=False))
            given.update(kwargs)
        init_only: list[Any] = []
        for field in record.fields:
            value = self._value(field, given, record, place)
            if field.init_only:
                init_only.append(value)
            elif value is not ABSENT:
                self._put(obj, field.name, value, place)
        obj.args = dict(obj.attrs)
        post = self.ev.classes.attr(obj.cls, "__post_init__")
        if isinstance(post, Func) and not record.row:
            self.ev.calls.call_function(post, [obj, *init_only], {}, place)

    def _put(self, obj: Obj, name: str, value: Any, place: SourcePlace) -> None:
        if self.ev.classes.attr(obj.cls, "__setattr__") is not ABSENT and not self.is_frozen(
            obj.cls
        ):
            obj.set_attr(self.ev, name, value, place)
        elif name in self.ev.classes.descriptors(obj.cls):
            obj.store(self.ev, name, value, place)
        else:
            obj.attrs[name] = value

    def _value(
        self, field: Field, given: dict[str, Any], record: Record, place: SourcePlace
    ) -> Any:
        if field.name in given:
            return given[field.name]
        if record.exact and not field.flag("init") and "default_factory" not in field.options:
            return ABSENT  # what the class holds
        if isinstance(field.source, Absent) or (record.exact and not field.has_default):
            if record.exact and not field.flag("init"):
                return ABSENT
            return Unknown(f"field {field.name} without a value", place)
        return self.default(field.source, place)

    def _bound(
        self, record: Record, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> dict[str, Any]:
        """Arguments by field, as Python binds them."""
        parameters = [f for f in record.fields if f.flag("init")]
        positional = [f.name for f in parameters if not f.kw_only]
        name = f"{record.cls.name}.__init__()"
        if len(args) > len(positional):
            why = f"{name} takes {len(positional)} positional arguments, {len(args)} given"
            raise Raised("TypeError", why, place)
        given = dict(zip(positional, args, strict=False))
        names = {f.name for f in parameters}
        for key, value in kwargs.items():
            if key not in names:
                raise Raised("TypeError", f"{name} has no parameter {key}", place)
            if key in given:
                raise Raised("TypeError", f"{name} got {key} twice", place)
            given[key] = value
        for field in parameters:
            if field.name not in given and not field.has_default:
                raise Raised("TypeError", f"{name} misses the argument {field.name}", place)
        return given


def _key(cls: Class, node: ast.expr) -> tuple[Class, str]:
    return cls, f"{node.lineno}:{node.col_offset}"


def _called(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def _flags(decorator: ast.expr | None) -> dict[str, bool]:
    if not isinstance(decorator, ast.Call):
        return {}
    return {
        str(k.arg): bool(k.value.value)
        for k in decorator.keywords
        if isinstance(k.value, ast.Constant)
    }


def _field_options(node: ast.expr) -> dict[str, ast.expr] | None:
    """The keywords of `field(...)`; None for any other expression."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _FIELDS:
        return {k.arg: k.value for k in node.keywords if k.arg is not None}
    return None


def _annotated(cls: Class, kw_only: bool) -> dict[str, Field]:
    """The fields that a class's own annotations say."""
    found: dict[str, Field] = {}
    for statement in cls.node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        annotation = ast.unparse(statement.annotation).strip("'\"")
        if "ClassVar" in annotation:
            continue
        name = statement.target.id
        if annotation in ("KW_ONLY", "dataclasses.KW_ONLY"):
            kw_only = True
            continue
        value = statement.value
        if value is None and name in found:
            value = _source_of(found[name])  # the class holds it still
        options = (_field_options(value) if value is not None else None) or {}
        source = ABSENT if value is None else (cls, value)
        only = options.get("kw_only")
        by_place = found[name].kw_only if name in found else kw_only
        found[name] = Field(
            name,
            source,
            options,
            bool(only.value) if isinstance(only, ast.Constant) else by_place,
            annotation.startswith(("InitVar", "dataclasses.InitVar")),
        )
    return found


def _source_of(field: Field) -> ast.expr | None:
    return None if isinstance(field.source, Absent) else field.source[1]


def _is_mutable(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("list", "dict", "set")
    return isinstance(node, _MUTABLE)
