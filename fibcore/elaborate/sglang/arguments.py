"""Arguments of a call to a function that fibcore stands in for."""

from __future__ import annotations

from typing import Any

Args = list[Any]
Kwargs = dict[str, Any]


def argument(args: Args, kwargs: Kwargs, position: int, name: str, default: Any = None) -> Any:
    """The argument at a position or of a name, or `default`."""
    return args[position] if position < len(args) else kwargs.get(name, default)
