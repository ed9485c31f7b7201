"""Names of packages that are not evaluated."""

from __future__ import annotations

import collections.abc
import numbers
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import Args, Kwargs, Value
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_GENERIC = {"List": list, "Dict": dict, "Tuple": tuple, "Set": set, "FrozenSet": frozenset}
_ABSTRACT: dict[str, type] = {
    **{
        f"collections.abc.{name}": getattr(collections.abc, name)
        for name in collections.abc.__all__
    },
    **{f"typing.{name}": getattr(collections.abc, name) for name in collections.abc.__all__},
    **{f"numbers.{name}": getattr(numbers, name) for name in numbers.__all__},
    **{f"typing.{name}": kind for name, kind in _GENERIC.items()},
    "typing.AbstractSet": collections.abc.Set,
}
"""Abstract classes of Python's library: plain data is of them as Python says."""
_DICTS = ("collections.OrderedDict", "collections.defaultdict", "collections.Counter")
"""Kinds of dict: which of them a plain dict stands for is not kept."""


class Ext(Value):
    """A name of a package that is not evaluated: `torch.nn.functional.linear`.

    What the libraries imitate of it is looked up when it is called or read (`libraries/`).
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ext) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Ext({self.name})"

    @property
    def short(self) -> str:
        """The name without the package."""
        return self.name.rpartition(".")[2]

    @property
    def shown(self) -> str:
        return self.name

    @property
    def kind_name(self) -> str:
        return self.name

    @property
    def dotted_name(self) -> str:
        return self.name

    def same_as(self, other: Any) -> bool:
        return bool(self == other)

    def summary(self, number: int | None) -> Any:
        return self.name

    def has_instance(self, value: Any) -> bool | None:
        if isinstance(value, Unknown):
            if value.is_plain and self.name == "torch.Tensor":
                return False
            return self.short == "Tensor" if value.is_tensor else None
        if isinstance(value, Value):
            return value.is_of_external(self.name)
        if self.name in _DICTS and isinstance(value, dict):
            return None
        return isinstance(value, _ABSTRACT.get(self.name, ()))

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        return self == other if isinstance(other, Ext) else super().equals(ev, other, place)

    def identical(self, other: Any) -> bool | None:
        return bool(self == other)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        return ev.libraries.attribute(self, name)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        return ev.libraries.contains(self, item, place)

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return True

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return ev.libraries.call(self, args, kwargs, place)
