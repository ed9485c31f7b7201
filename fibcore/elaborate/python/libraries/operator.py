"""operator."""

from __future__ import annotations

import operator

from fibcore.elaborate.python import limits
from fibcore.elaborate.python.libraries.table import CALLS, pure

_FUNCTIONS = ("sub", "floordiv", "truediv")

CALLS.update({f"operator.{name}": pure(getattr(operator, name)) for name in _FUNCTIONS})
CALLS.update({"operator.add": pure(limits.add), "operator.mul": pure(limits.mul)})
