"""Containers of which it is not known what they hold: a place that is not known was written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fibcore.elaborate.python.values.base import ABSENT, Value
from fibcore.model.tree import Alternatives, Unknown, UnknownKind


class OtherKeys:
    """The keys that a dict may have beside those that are known."""

    def __repr__(self) -> str:
        return "OTHER_KEYS"


OTHER_KEYS: Any = OtherKeys()


def is_doubtful(item: Any) -> bool:
    """Whether an entry of a list or set stands for any number of entries."""
    return isinstance(item, Unknown) and item.kind is UnknownKind.ENTRY


def may_be_absent(value: Any) -> bool:
    """Whether a value may not be there at all."""
    return isinstance(value, Alternatives) and ABSENT in value.values


def is_open(value: Any) -> bool:
    """Whether it is not known how many items a container has, or in which places."""
    if isinstance(value, list):
        return any(map(is_doubtful, value))
    if isinstance(value, (set, frozenset)):
        return any(isinstance(item, Unknown) for item in value)
    if isinstance(value, dict):
        return OTHER_KEYS in value or any(map(may_be_absent, value.values()))
    return False


def certain_length(value: list[Any]) -> int:
    """How many of a list's first entries are known to be there."""
    return next((n for n, item in enumerate(value) if is_doubtful(item)), len(value))


def is_filled(value: Any) -> bool | None:
    """Whether a container holds anything; None where that is not known."""
    if not is_open(value):
        return bool(value)
    if isinstance(value, dict):
        certain = any(k is not OTHER_KEYS and not may_be_absent(v) for k, v in value.items())
    else:
        certain = not all(map(is_doubtful, value))
    return True if certain else None


def one_of(values: Iterable[Any], why: Unknown) -> Any:
    """One of several values, it is not known which: those that can be changed are kept apart."""
    found: list[Any] = []
    for value in values:
        for part in value.values if isinstance(value, Alternatives) else (value,):
            if isinstance(part, (list, dict, set, Value)) and all(part is not f for f in found):
                found.append(part)
    return Alternatives((*found, why)) if found else why
