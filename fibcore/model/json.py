"""JSON: one converter between frozen records and plain data, one way to read and to write text.

Structuring is strict: a key that a record lacks, a missing key and a value of another type are
errors that give the JSON path, `$.axes.page_size.value`. Nothing is coerced.

The converter, and cattrs with it, is loaded when something is first converted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from fibcore.errors import FibcoreError
from fibcore.model.forms import FORMS, HOOKS, WRITERS, DataError, Form

T = TypeVar("T")


def to_data(value: Any) -> Any:
    """A record as what `json.dumps` takes: dicts by field name in order, lists, plain values.

    Paths and places become text, and errors what their `to_dict` says.
    """
    from fibcore.model.conversion import converter

    return converter.unstructure(value)


def from_data(
    cls: type[T], data: object, where: str = "$", error: type[FibcoreError] = DataError
) -> T:
    """The record of class `cls` that `data` describes.

    Args:
        cls: An attrs class.
        data: Plain data, as `json.loads` gives it.
        where: The JSON path of `data`.
        error: The class of the error to raise.

    Raises:
        FibcoreError: of class `error`, with the JSON path of what is wrong.
    """
    from fibcore.model.conversion import structured

    return structured(cls, data, where, error)


def to_text(data: Any) -> str:
    """The text of a JSON file: 2-space indent, no escapes, a newline at the end."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def from_text(text: str, where: str = "$", error: type[FibcoreError] = DataError) -> Any:
    """The plain data in a JSON text; no key stands twice, and NaN and Infinity are refused.

    Raises:
        FibcoreError: of class `error`, with line and column where the text is not JSON.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_refuse_json_constant
        )
    except json.JSONDecodeError as failure:
        raise error(
            "not JSON",
            where=f"{where} line {failure.lineno} column {failure.colno}",
            found=failure.msg,
            hint="repair or remove the file",
        ) from None
    except DataError as failure:
        raise error(failure.message, where=where, found=failure.found) from None
    except (ValueError, RecursionError) as failure:  # a number or a nesting beyond all measure
        raise error("not JSON", where=where, found=str(failure)) from None


def configure(
    cls: type[Any], *, optional: Iterable[str] = (), renamed: Mapping[str, str] | None = None
) -> None:
    """Define how the data of the attrs class `cls` differs from its fields.

    Args:
        cls: The class.
        optional: Fields that are left out of the data where they have their default.
        renamed: Field to the key that it has in the data: `{"cls": "class"}`.
    """
    FORMS[cls] = Form(tuple(optional), renamed or {})


def structure_by(kind: Any, hook: Callable[[Any], Any]) -> None:
    """Structure values of the type `kind` by `hook`, which raises `FibcoreError`."""
    HOOKS.append((kind, hook))


def write_by(cls: type[T], writer: Callable[[T], Any]) -> None:
    """Let `writer` give the data of the class `cls`."""
    WRITERS[cls] = writer


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a key that stands twice would silently lose a value."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise DataError("a key stands twice in one object", found=", ".join(twice))
    return result


def _refuse_json_constant(name: str) -> None:
    raise DataError("not JSON", found=name)
