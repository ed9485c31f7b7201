"""re, and the package regex that stands in for it with the same functions."""

from __future__ import annotations

from fibcore.elaborate.python.libraries.table import CALLS, pure
from fibcore.elaborate.python.patterns import FUNCTIONS

for _library in ("re", "regex"):
    CALLS.update({f"{_library}.{name}": pure(fn) for name, fn in FUNCTIONS.items()})
