"""Dicts of other kinds: they are dicts to all that asks, and do something more."""

from __future__ import annotations

from typing import Any


class DefaultDict(dict[Any, Any]):
    """`collections.defaultdict`.

    Attributes:
        factory: What makes the value of a missing key; None for nothing.
    """

    factory: Any = None

    def like(self, contents: Any) -> DefaultDict:
        """Another one with the same factory."""
        made = DefaultDict(contents)
        made.factory = self.factory
        return made


class OrderedDict(dict[Any, Any]):
    """`collections.OrderedDict`, two of which are equal in the same order alone."""
