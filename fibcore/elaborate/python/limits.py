"""Sizes that no model's numbers have: what would reach them is left alone."""

from __future__ import annotations

import ast
import re
from typing import Any

MAX_CONTAINER = 1 << 20


def too_large(op: type, left: Any, right: Any) -> bool:
    """Whether the result of an operation would take more memory than a model's numbers do."""
    if op is ast.Mult:
        for many, times in ((left, right), (right, left)):
            if isinstance(many, (list, tuple, str, bytes)) and isinstance(times, int):
                return len(many) * times > MAX_CONTAINER
    if op in (ast.Pow, ast.LShift) and isinstance(left, int) and isinstance(right, int):
        return right > 4096 or left.bit_length() * max(right, 1) > 1 << 16
    if op is ast.Mod and isinstance(left, str):
        return is_wide(left)
    return False


def is_wide(spec: str) -> bool:
    """Whether a format pads to a width that no name has."""
    return re.search(r"\d{5}", spec) is not None
