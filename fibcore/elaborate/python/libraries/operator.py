"""operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fibcore.elaborate.python.libraries.table import (
    CALLS,
    pure,
)

if TYPE_CHECKING:
    pass


import operator

_FUNCTIONS = ("mul", "add", "sub", "floordiv", "truediv")

CALLS.update({f"operator.{name}": pure(getattr(operator, name)) for name in _FUNCTIONS})
