"""re, and the package regex that stands in for it with the same functions."""

from __future__ import annotations

import re

from fibcore.elaborate.python.libraries.table import CALLS, pure

_FUNCTIONS = ("compile", "escape", "findall", "fullmatch", "match", "search", "split", "sub")

for _library in ("re", "regex"):
    CALLS.update({f"{_library}.{name}": pure(getattr(re, name)) for name in _FUNCTIONS})
