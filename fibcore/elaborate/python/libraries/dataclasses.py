"""dataclasses: what is asked of records; how they are made, `records.py` knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import CONSTANTS, imitates
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Ext,
    Kwargs,
    Namespace,
    Obj,
    Raised,
    Value,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.record_types import Field, Record


class FieldValue(Value):
    """What `field(...)` gives: the class holds its default in its place.

    Attributes:
        default: The default; ABSENT without one.
    """

    __slots__ = ("default",)

    def __init__(self, default: Any) -> None:
        self.default = default

    @property
    def in_class(self) -> Any:
        return self.default


CONSTANTS["dataclasses.MISSING"] = Ext("dataclasses.MISSING")


@imitates("dataclasses.field")
def _field(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return FieldValue(kwargs.get("default", ABSENT))


def _record(ev: Evaluator, value: Any) -> Record | None:
    """The record of an instance or class."""
    owner = value.cls if isinstance(value, Obj) else value
    return ev.records.of(owner) if isinstance(owner, Class) else None


def _is_instance(value: Any) -> bool:
    return type(value) is Obj and isinstance(value.cls, Class)


@imitates("dataclasses.fields")
def _fields(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The fields of a record class or of an instance of one."""
    record = _record(ev, args[0])
    if record is None:
        if isinstance(args[0], (Class, Obj)):
            raise Raised("TypeError", "fields() of something that is no dataclass", place)
        return Unknown("the fields of something that is no record", place)
    return tuple(_described(ev, f, place) for f in record.fields if not f.init_only)


def _described(ev: Evaluator, field: Field, place: SourcePlace) -> Namespace:
    missing = CONSTANTS["dataclasses.MISSING"]
    simple = field.has_default and "default_factory" not in field.options
    default = ev.records.default(field.source, place) if simple else missing  # type: ignore[arg-type]
    values = {
        "name": field.name,
        "init": field.flag("init"),
        "repr": field.flag("repr"),
        "compare": field.flag("compare"),
        "kw_only": field.kw_only,
        "default": default,
        "default_factory": Unknown("the factory of a field", place)
        if "default_factory" in field.options
        else missing,
    }
    return Namespace("field", values, lambda name: Unknown(f"{name} of a field", place))


def _inner(ev: Evaluator, value: Any, args: Args, place: SourcePlace) -> Record | Unknown:
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("the fields of something unknown", place)
    record = _record(ev, value) if _is_instance(value) else None
    if record is None or record.row:
        if isinstance(value, Value) and not _is_instance(value):
            return Unknown("the fields of something that is no record", place)
        raise Raised("TypeError", "asdict() should be called on dataclass instances", place)
    return record


@imitates("dataclasses.asdict")
def _as_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The fields of a record, records inside of it as dicts too."""
    record = _inner(ev, args[0], args, place)
    if isinstance(record, Unknown) or len(args) != 1 or kwargs:
        return record if isinstance(record, Unknown) else Unknown("asdict() with a factory", place)
    return _plain_record(ev, args[0], as_tuple=False)


@imitates("dataclasses.astuple")
def _as_tuple(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The fields of a record as a tuple, records inside of it too."""
    record = _inner(ev, args[0], args, place)
    if isinstance(record, Unknown) or len(args) != 1 or kwargs:
        return record if isinstance(record, Unknown) else Unknown("astuple() with a factory", place)
    return _plain_record(ev, args[0], as_tuple=True)


def _plain_record(ev: Evaluator, value: Any, *, as_tuple: bool) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain_record(ev, v, as_tuple=as_tuple) for v in value)
    if isinstance(value, dict):
        return {k: _plain_record(ev, v, as_tuple=as_tuple) for k, v in value.items()}
    if _is_instance(value):
        record = ev.records.of(value.cls)
        if record is not None and not record.row:
            place = value.place or SourcePlace("", 1)
            held = {n: ev.attributes.get(value, n, place) for n in record.names}
            inner = {n: _plain_record(ev, v, as_tuple=as_tuple) for n, v in held.items()}
            return tuple(inner.values()) if as_tuple else inner
        return value.copied()
    return (
        value.copied()
        if isinstance(value, Value)
        else set(value)
        if isinstance(value, set)
        else value
    )


@imitates("dataclasses.replace")
def _replace(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    record = _record(ev, value) if _is_instance(value) else None
    if record is None:
        return Unknown("a changed copy of something that is no record", place)
    given: dict[str, Any] = {}
    for field in record.fields:
        if not field.flag("init"):
            if field.name in kwargs:
                why = f"field {field.name} is declared with init=False"
                raise Raised("ValueError", why, place)
        elif field.init_only and field.name not in kwargs:
            if not field.has_default:
                raise Raised("ValueError", f"InitVar {field.name} must be specified", place)
        elif field.name not in kwargs:
            given[field.name] = ev.attributes.get(value, field.name, place)
    return ev.construction.construct(value.cls, [], {**given, **kwargs}, place)


@imitates("dataclasses.is_dataclass")
def _is_dataclass(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("whether something unknown is a dataclass", place)
    record = _record(ev, value)
    return record is not None and not record.row


@imitates("dataclasses.make_dataclass")
def _make(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Unknown("a dataclass made by make_dataclass()", place)
