"""Dicts of other kinds: they are dicts to all that asks, and do something more."""

from __future__ import annotations

from typing import Any

from fibcore.elaborate.python.values.base import ABSENT
from fibcore.model.tree import Alternatives, Unknown


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


class ClassNames(dict[str, Any]):
    """What a class holds; which special names Python adds differs between its versions."""

    def __missing__(self, name: str) -> Any:
        if name in self:
            return Alternatives((Unknown(f"{name}, if Python adds it to a class"), ABSENT))
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        added = isinstance(name, str) and name.startswith("__") and name.endswith("__")
        return added or super().__contains__(name)

    def get(self, name: Any, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default
