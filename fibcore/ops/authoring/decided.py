"""Arguments that a matcher needs to know, of modules and of calls."""

from __future__ import annotations

from typing import Any

from fibcore.model.tree import Alternatives, Unknown


class UndecidedError(Exception):
    """Something that decides which kernel runs is not known, or does not fit the rest."""


def decided(value: Any, name: str) -> Any:
    """Give an argument's value, which has to be known.

    Args:
        value: What the tree has for it.
        name: What it is called, for the message.

    Raises:
        UndecidedError: it is unknown, or one of several.
    """
    if isinstance(value, Unknown):
        raise UndecidedError(f"{name} is {value}")
    if isinstance(value, Alternatives):
        raise UndecidedError(f"{name} is one of {', '.join(map(str, value.values))}")
    return value


def decided_size(value: Any, name: str) -> int:
    """Give an argument's value, which has to be a positive integer.

    Raises:
        UndecidedError: it is not known, or something else.
    """
    value = decided(value, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UndecidedError(f"{name} is {value!r}, not a positive number")
    return value


def possible_values(value: Any) -> list[Any]:
    """List the values that one may have: those of `Alternatives`, however nested, or itself."""
    if isinstance(value, Alternatives):
        return [leaf for one in value.values for leaf in possible_values(one)]
    return [value]
