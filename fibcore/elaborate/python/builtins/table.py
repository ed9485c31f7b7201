"""The table of Python's builtins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fibcore.elaborate.python.values import Native

BUILTINS: dict[str, Any] = {}


def builtin(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function for a builtin."""

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        BUILTINS[name] = Native(name, fn)
        return fn

    return register
