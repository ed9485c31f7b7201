"""types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import ABSENT, Args, Kwargs, Namespace, Raised, Value
from fibcore.elaborate.python.values.open_ended import is_open
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


class MappingProxy(Value):
    """A view of a dict through which it cannot be changed."""

    __slots__ = ("holder",)

    def __init__(self, holder: dict[Any, Any]) -> None:
        self.holder = holder

    def same_as(self, other: Any) -> bool:
        return self.holder is other.holder

    def is_of_external(self, name: str) -> bool | None:
        return name.rpartition(".")[2] in ("Mapping", "Iterable", "Sized", "Container", "object")

    def truth(self, ev: Evaluator) -> bool | None:
        return ev.operators.truth(self.holder)

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        other = other.holder if isinstance(other, MappingProxy) else other
        return ev.comparisons.equal(self.holder, other, place)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in ("get", "items", "keys", "values", "copy"):
            return ev.plain.attribute(self.holder, name, place)
        return ABSENT

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        return ev.operators.subscript(self.holder, key, place)

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        raise Raised("TypeError", "a mappingproxy does not support item assignment", place)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        return ev.comparisons.contains(item, self.holder, place)

    def items(self, ev: Evaluator) -> list[Any] | None:
        return ev.operators.items(self.holder)

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        return (
            Unknown("the length of a proxy of a dict that may hold more", place)
            if is_open(self.holder)
            else len(self.holder)
        )


@imitates("types.MappingProxyType")
def _mapping_proxy(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if len(args) == 1 and isinstance(args[0], dict) and not kwargs:
        return MappingProxy(args[0])
    return Unknown("a proxy of something unknown", place)


@imitates("types.SimpleNamespace")
def _simple_namespace(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return Namespace("SimpleNamespace", dict(kwargs))
