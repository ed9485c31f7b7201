"""What classes declare of their data, for `fibcore.model.json` and for the converter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from fibcore.errors import FibcoreError


@attrs.frozen
class Form:
    """How the data of an attrs class differs from its fields.

    Attributes:
        optional: Fields that are left out of the data where they have their default.
        renamed: Field to the key that it has in the data.
    """

    optional: tuple[str, ...] = ()
    renamed: Mapping[str, str] = attrs.field(factory=dict)


FORMS: dict[type[Any], Form] = {}
"""The classes whose data differs from their fields."""

HOOKS: list[tuple[Any, Callable[[Any], Any]]] = []
"""Types and the functions that structure their values."""

WRITERS: dict[type[Any], Callable[[Any], Any]] = {}
"""Classes and the functions that give their data."""


class DataError(FibcoreError):
    """Data does not have the form that it should have; `where` is the JSON path."""
