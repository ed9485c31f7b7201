"""What a value is that a hook returned: of a type, a sequence, a mapping, a plain scalar.

Each function raises `ValueError` with a sentence where it is something else.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")


def is_a(value: object, kind: type[T], what: str) -> T:
    """The value, which has to be of a type."""
    if not isinstance(value, kind):
        raise ValueError(f"{what} is {shown(value)}, not {kind.__name__}")
    return value


def shown(value: object) -> str:
    """A value and its type in a few words."""
    return f"{type(value).__name__} {str(value)[:80]!r}"


def items(values: object, kind: type[T], what: str) -> tuple[T, ...]:
    """The items of a sequence, each of which has to be of a type."""
    if not isinstance(values, (tuple, list)):
        raise ValueError(f"{what} is {shown(values)}, not a sequence")
    return tuple(is_a(value, kind, f"an item of {what}") for value in values)


def mapping(value: object, what: str) -> Mapping[object, object]:
    """The value, which has to be a mapping."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is {shown(value)}, not a mapping")
    return value


def check_scalar(value: object, what: str) -> None:
    """Raise where a value is no finite number, string or bool."""
    finite = math.isfinite(value) if isinstance(value, float) else isinstance(value, (int, str))
    if not finite:
        raise ValueError(f"{what} is {shown(value)}, not a finite plain scalar")


def listed(names: Collection[object]) -> str:
    """Names in order, in a line."""
    return ", ".join(sorted(map(str, names))) or "none"
