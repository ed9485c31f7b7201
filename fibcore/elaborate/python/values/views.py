"""Views of dicts: `keys()`, `values()` and `items()`, which show what their dict holds now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised, Value
from fibcore.elaborate.python.values.functions import Native
from fibcore.elaborate.python.values.merging import at_index
from fibcore.elaborate.python.values.open_ended import is_open
from fibcore.model.tree import Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_ABSTRACT = {
    "keys": frozenset(("KeysView", "MappingView", "Set", "Collection")),
    "items": frozenset(("ItemsView", "MappingView", "Set", "Collection")),
    "values": frozenset(("ValuesView", "MappingView", "Collection")),
}
_COMMON = frozenset(("Iterable", "Sized", "Container", "Reversible", "object"))


class DictView(Value):
    """A view of a dict.

    Attributes:
        holder: The dict.
        kind: "keys", "values" or "items".
    """

    __slots__ = ("holder", "kind")

    def __init__(self, holder: dict[Any, Any], kind: str) -> None:
        self.holder = holder
        self.kind = kind

    @property
    def kind_name(self) -> str:
        return f"dict_{self.kind}"

    @property
    def shown(self) -> str:
        return self.kind_name

    @property
    def is_set(self) -> bool:
        """Whether it can be combined and compared as a set."""
        return self.kind != "values"

    def now(self) -> list[Any]:
        """What it shows now; of a dict that may hold more, that this is not known."""
        if is_open(self.holder):
            return [Unknown("a view of a dict that may hold more", None, UnknownKind.ENTRY)]
        if self.kind == "items":
            return [tuple(item) for item in self.holder.items()]
        return list(self.holder if self.kind == "keys" else self.holder.values())

    def is_of_external(self, name: str) -> bool | None:
        short = name.rpartition(".")[2]
        return short in _COMMON or short in _ABSTRACT[self.kind]

    def same_as(self, other: Any) -> bool:
        return self.holder is other.holder and self.kind == other.kind

    def summary(self, number: int | None) -> Any:
        return (self.kind, id(self.holder))

    def at_index(self, index: int, tracker: Any) -> Any:
        return DictView(at_index(self.holder, index, tracker), self.kind)

    def truth(self, ev: Evaluator) -> bool | None:
        return ev.operators.truth(self.holder)

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        if self is other:
            return True
        if not self.is_set or not isinstance(other, (DictView, set, frozenset)):
            return False
        if isinstance(other, DictView) and not other.is_set:
            return False
        if isinstance(other, DictView) and self.kind == other.kind == "items":
            # Values need no hash for that.
            return ev.comparisons.equal(dict(self.holder), dict(other.holder), place)
        sides = [ev.operators.make_set(_items(side), place) for side in (self, other)]
        if any(isinstance(side, Unknown) for side in sides):
            return Unknown("a comparison of views with something unknown", place)
        return bool(sides[0] == sides[1])

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name == "isdisjoint" and self.is_set:

            def disjoint(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
                found = ev.operators.make_set(self.now(), place)
                if isinstance(found, Unknown):
                    return found
                return ev.plain.method(found, name, args, kwargs, place)

            return Native(name, disjoint)
        if name == "mapping" or name.startswith("__"):
            return Unknown.attribute(f"attribute {name} of a view", place)
        return ABSENT

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        raise Raised("TypeError", f"{self.kind_name!r} object is not subscriptable", place)

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        raise Raised("TypeError", f"{self.kind_name!r} object cannot be assigned to", place)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        return ev.comparisons.contains(
            item, self.holder if self.kind == "keys" else self.now(), place
        )

    def items(self, ev: Evaluator) -> list[Any] | None:
        return None if is_open(self.holder) else self.now()

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        if is_open(self.holder):
            return Unknown("the length of a view of a dict that may hold more", place)
        return len(self.holder)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        raise Raised("TypeError", f"{self.kind_name!r} object is not callable", place)


def _items(value: Any) -> list[Any]:
    return value.now() if isinstance(value, DictView) else list(value)


def drained(value: Any) -> Any:
    """A view as a list of what it shows, for functions that go through it; others as they are."""
    return value.now() if isinstance(value, DictView) else value
