"""The converter between frozen records and plain data; its interface is `fibcore.model.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from fibcore.errors import FibcoreError
from fibcore.model.forms import FORMS, HOOKS, WRITERS, DataError, Form
from fibcore.model.options import OptionValue
from fibcore.model.tree import SourcePlace

T = TypeVar("T")

converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
"""The one converter. Functions for a class are generated when it is first converted."""


def structured(cls: type[T], data: object, where: str, error: type[FibcoreError] = DataError) -> T:
    """The record of class `cls` that `data` describes; see `fibcore.model.json.from_data`."""
    try:
        return converter.structure(data, cls)
    except _FAILURES as failure:
        raise _located(where, failure, error) from None


# Errors: one that a hook or a record raises has the path below it as its `where`.

_FAILURES = (FibcoreError, cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError)


def _located(where: str, failure: BaseException, error: type[FibcoreError]) -> FibcoreError:
    """The first leaf of what structuring raised, with its path below `where`."""
    path = where
    while isinstance(failure, cattrs.BaseValidationError):
        if isinstance(failure, cattrs.ForbiddenExtraKeysError):
            break
        keys = _form(getattr(failure, "cl", None)).renamed
        failure = failure.exceptions[0]
        for note in getattr(failure, "__notes__", ()):
            if isinstance(note, cattrs.AttributeValidationNote):
                path = f"{path}.{keys.get(note.name, note.name)}"
    if isinstance(failure, cattrs.ForbiddenExtraKeysError):
        return error("unknown key", where=path, found=", ".join(sorted(failure.extra_fields)))
    if isinstance(failure, FibcoreError):
        below = failure.where or ""
        joint = "." if below and not below.startswith("[") else ""
        return error(
            failure.message,
            where=f"{path}{joint}{below}",
            expected=failure.expected,
            found=failure.found,
            hint=failure.hint,
        )
    if isinstance(failure, KeyError):
        return error("a key is missing", where=path, expected=str(failure.args[0]))
    return error(str(failure) or type(failure).__name__, where=path)


# Strict types.


def _wrong_type(expected: str, found: str) -> DataError:
    return DataError("wrong type", expected=expected, found=found)


def _strict(*kinds: type[Any]) -> Callable[[object, object], Any]:
    """A hook that takes instances of `kinds` alone; True is an int for Python and not here."""

    def structure(value: object, _: object) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            words = " or ".join(kind.__name__ for kind in kinds)
            raise _wrong_type(words, f"{type(value).__name__} {value!r}")
        return value

    return structure


def _form(kind: Any) -> Form:
    return FORMS.get(kind) or Form()


def _overrides(kind: type[Any]) -> dict[str, Any]:
    form = _form(kind)
    fields: dict[str, Any] = {name: override(omit_if_default=True) for name in form.optional}
    return fields | {name: override(rename=key) for name, key in form.renamed.items()}


def _record_data(kind: type[Any]) -> Callable[[Any], dict[str, Any]]:
    return make_dict_unstructure_fn(kind, converter, **_overrides(kind))


def _record_hook(kind: type[Any]) -> Callable[[object, object], Any]:
    attrs.resolve_types(kind)
    form = _form(kind)
    fields = _overrides(kind) if form.renamed else {}
    generated = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, **fields)

    def structure(value: object, _: object) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type("an object", type(value).__name__)
        return generated(value, kind)

    return structure


def _mapping_hook(kind: Any) -> Callable[[object, object], Any]:
    item = get_args(kind)[1]

    def structure(value: object, _: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong_type("an object", type(value).__name__)
        return {key: structured(item, entry, key) for key, entry in value.items()}

    return structure


def _tuple_hook(kind: Any) -> Callable[[object, object], Any]:
    item = get_args(kind)[0]

    def names(value: object, _: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise _wrong_type("list of strings", repr(value))
        return tuple(value)

    def structure(value: object, _: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong_type("a list", type(value).__name__)
        return tuple(structured(item, entry, f"[{index}]") for index, entry in enumerate(value))

    return names if item is str else structure


def _literal_hook(kind: Any) -> Callable[[object, object], Any]:
    known = get_args(kind)

    def structure(value: object, _: object) -> Any:
        if value not in known:
            raise DataError(
                "unknown value", expected=" or ".join(map(str, known)), found=repr(value)
            )
        return value

    return structure


def _option_value(value: object, _: object) -> Any:
    if isinstance(value, list):
        value = tuple(value)
    items = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(item, type(items[0])) and type(item) in (int, str) for item in items):
        raise _wrong_type("int, str, or a list of either", repr(value))
    return value


def _source_place(value: object, _: object) -> SourcePlace:
    try:
        return SourcePlace.parse(value if isinstance(value, str) else "")
    except ValueError:
        raise DataError(
            "not a place in a source tree", expected="file:line", found=repr(value)
        ) from None


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_literal(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return bool(origin is Literal)


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


converter.register_structure_hook(str, _strict(str))
converter.register_structure_hook(int, _strict(int))
converter.register_structure_hook(float, _strict(float, int))
converter.register_structure_hook(bool, _strict(bool))
converter.register_structure_hook_factory(attrs.has, _record_hook)
converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
converter.register_structure_hook_factory(_is_literal, _literal_hook)
converter.register_structure_hook_func(
    lambda kind: kind == int | float | str | bool, _strict(int, float, str, bool)
)
converter.register_structure_hook_func(lambda kind: kind == OptionValue, _option_value)
converter.register_unstructure_hook_func(
    lambda kind: kind == OptionValue,
    lambda value: list(value) if isinstance(value, tuple) else value,
)
converter.register_unstructure_hook_factory(FORMS.__contains__, _record_data)
converter.register_unstructure_hook_factory(WRITERS.__contains__, lambda kind: WRITERS[kind])
converter.register_unstructure_hook(Path, str)
converter.register_structure_hook(SourcePlace, _source_place)
converter.register_unstructure_hook(SourcePlace, str)
converter.register_unstructure_hook(FibcoreError, lambda error: error.to_dict())
converter.register_structure_hook_func(
    lambda kind: any(kind == known for known, _ in HOOKS),
    lambda value, kind: next(hook for known, hook in HOOKS if known == kind)(value),
)
