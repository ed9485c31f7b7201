"""math."""

from __future__ import annotations

import math

from fibcore.elaborate.python import limits
from fibcore.elaborate.python.libraries.table import CALLS, CONSTANTS, pure

_FUNCTIONS = (
    "sqrt", "log", "log2", "log10", "ceil", "floor", "gcd", "exp", "pow",
    "isclose", "cos", "sin", "tanh", "fabs",
)  # fmt: skip

CALLS.update({f"math.{name}": pure(getattr(math, name)) for name in _FUNCTIONS})
CALLS.update({"math.lcm": pure(limits.least_multiple), "math.prod": pure(limits.product)})
CONSTANTS.update({f"math.{name}": getattr(math, name) for name in ("pi", "inf", "e")})
