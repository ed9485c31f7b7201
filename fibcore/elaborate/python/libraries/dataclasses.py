"""dataclasses: what is asked of records; how they are made, `records.py` knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import Args, Class, Kwargs, Namespace, Obj
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


@imitates("dataclasses.fields")
def _fields(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The fields of a record class or of an instance of one."""
    owner = args[0].cls if isinstance(args[0], Obj) else args[0]
    known = ev.records.fields(owner) if isinstance(owner, Class) else None
    if known is None:
        return Unknown("the fields of something that is no record", place)
    return tuple(Namespace("field", {"name": name, "init": True}) for name in known)


@imitates("dataclasses.asdict")
def _as_dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    """The fields of a record, records inside of it as dicts too."""
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("the fields of something unknown", place)
    return _plain_record(ev, value)


def _plain_record(ev: Evaluator, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_plain_record(ev, v) for v in value)
    if isinstance(value, dict):
        return {k: _plain_record(ev, v) for k, v in value.items()}
    if type(value) is Obj and isinstance(value.cls, Class):
        fields = ev.records.fields(value.cls)
        if fields is not None:
            return {k: _plain_record(ev, value.attrs[k]) for k in fields if k in value.attrs}
    return value


@imitates("dataclasses.replace")
def _replace(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    if type(value) is not Obj or not isinstance(value.cls, Class):
        return Unknown("a changed copy of something that is no record", place)
    known = ev.records.fields(value.cls) or {}
    given = {name: value.attrs[name] for name in known if name in value.attrs}
    return ev.construction.construct(value.cls, [], {**given, **kwargs}, place)


@imitates("dataclasses.is_dataclass")
def _is_dataclass(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("whether something unknown is a dataclass", place)
    owner = value.cls if isinstance(value, Obj) else value
    return isinstance(owner, Class) and ev.records.fields(owner) is not None
