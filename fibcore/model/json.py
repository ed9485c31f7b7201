"""JSON: one converter between frozen records and plain data, one way to read and to write text.

Structuring is strict: a key that a record lacks, a missing key and a value of another type are
errors that give the JSON path, `$.axes.page_size.value`. Nothing is coerced.

The converter, and cattrs with it, is loaded when something is first converted.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
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
        return decode(text, strict=True)
    except json.JSONDecodeError as failure:
        raise error(
            "not JSON",
            where=f"{where} line {failure.lineno} column {failure.colno}",
            found=failure.msg,
            hint="repair or remove the file",
        ) from None
    except JsonError as failure:
        raise error(failure.message, where=where + failure.place, found=failure.found) from None


def decode(text: str | bytes, *, strict: bool = False) -> Any:
    """The plain data in a JSON text from anywhere: what `json.loads` gives, within bounds.

    Numbers without a bound, nesting and characters that UTF-8 cannot hold are refused, because
    whatever works with the data later would fail at them.

    Args:
        text: The text.
        strict: Whether to refuse what JSON does not have (NaN, Infinity), numbers that become
            infinite, and a key that stands twice in one object, of which one value is lost.

    Raises:
        ValueError: `json.JSONDecodeError` where it is not JSON, which has line and column;
            `UnicodeDecodeError` where bytes are not UTF-8; else `JsonError`.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        data = json.loads(
            text,
            object_pairs_hook=_unique_keys if strict else None,
            parse_constant=_refuse_json_constant if strict else None,
            parse_int=_integer,
            parse_float=_finite if strict else None,
        )
    except RecursionError:
        raise _too_deep() from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(data)
    if _SURROGATE.search(text):
        _check_encodable(data)
    return data


MAX_DEPTH = 100
"""How deep lists and objects may be nested; configs and datasets have less than ten levels."""

MAX_DIGITS = 300
"""The most digits of an integer: beyond them no float holds it."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_HALF = re.compile(r"[\ud800-\udfff]")


class JsonError(ValueError):
    """JSON that is refused.

    Attributes:
        message: Why.
        found: What was found.
        place: Where in it, as the end of a JSON path; "" where that is not known.
    """

    def __init__(self, message: str, found: str, place: str = "") -> None:
        super().__init__(f"${place}: {message}: {found}" if place else f"{message}: {found}")
        self.message = message
        self.found = found
        self.place = place


def _too_deep() -> JsonError:
    return JsonError("nested too deeply", f"more than {MAX_DEPTH} levels")


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        level = inner
        if not level:
            return
    if any(isinstance(value, dict | list) for value in level):
        raise _too_deep()


def _check_encodable(data: Any) -> None:
    """An escape may name half of a pair, which is no character."""
    left: list[tuple[str, Any]] = [("", data)]
    while left:
        place, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{place}.{key}", (key, item)) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            step = "" if isinstance(value, tuple) else "[{}]"  # a tuple is a key with its value
            left += [(place + step.format(at), item) for at, item in enumerate(value)]
        elif isinstance(value, str) and (half := _HALF.search(value)):
            found = ascii(half.group())
            raise JsonError("not text that UTF-8 can hold", found, place=place)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise JsonError("a number that no float holds", f"an integer of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonError("a number that no float holds", text[:80])
    return number


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
        counts = Counter(key for key, _ in pairs)
        twice = sorted(key for key, count in counts.items() if count > 1)
        raise JsonError("a key stands twice in one object", ", ".join(twice)[:200])
    return result


def _refuse_json_constant(name: str) -> None:
    raise JsonError("not JSON", name)
