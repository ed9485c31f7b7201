"""Objects of the environment, known by their attributes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Raised, Value
from fibcore.elaborate.python.values.merging import copied
from fibcore.elaborate.python.values.open_ended import OTHER_KEYS
from fibcore.elaborate.python.values.tracking import born
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


class Namespace(Value):
    """Facts of the environment under one object: `get_parallel()`, `forward_batch`.

    Attributes are looked up in `values`, then asked of `fallback(name)`. `classes` are the names
    (lower case) of the classes that it is an instance of; None where they are not known.
    """

    __slots__ = ("classes", "fallback", "name", "values")
    comparable = False
    is_mapping = False
    """Whether it is a mapping of its values as well: it can be iterated, and lacks other keys."""

    def __init__(
        self,
        name: str,
        values: dict[str, Any] | None = None,
        fallback: Callable[[str], Any] | None = None,
    ) -> None:
        self.name = name
        self.values = values if values is not None else {}
        self.fallback = fallback
        self.classes: frozenset[str] | None = None

    @property
    def shown(self) -> str:
        return self.name

    @property
    def dotted_name(self) -> str:
        return self.name

    @property
    def instance_class(self) -> Any:
        return getattr(self, "cls", None)

    def key(self, name: str) -> str:
        """The name under which an attribute is kept."""
        return name

    def copy(self, values: dict[str, Any]) -> Namespace:
        """The same object with other values."""
        return Namespace(self.name, values, self.fallback)

    def type_of(self, place: SourcePlace) -> Any:
        return self.instance_class or Unknown(f"the class of {self.name}", place)

    def is_of(self, cls: Any) -> bool | None:
        return None if self.classes is None else cls.name.lower() in self.classes

    def is_of_external(self, name: str) -> bool | None:
        short = name.rpartition(".")[2].lower()
        return None if self.classes is None else short in self.classes

    def copied(self) -> Any:
        return self.copy(born({k: copied(v) for k, v in self.values.items()}))

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in self.values:
            return self.values[name]
        if OTHER_KEYS in self.values:
            return Unknown.attribute(f"attribute {name}, which may have been set", place)
        return ABSENT if self.fallback is None else self.fallback(name)

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        ev.writes.put(self.values, self.key(name), value)

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        ev.operators.check_key(key, place)
        if key in self.values:
            return self.values[key]
        if self.is_mapping:
            raise Raised("KeyError", str(key), place)
        if isinstance(key, str) and self.fallback is not None:
            return self.fallback(key)
        return Unknown(f"{self.name}[{key!r}]", place)

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        ev.assignments.set_item(self.values, key, value, place)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        ev.operators.check_key(item, place)
        return item in self.values

    def items(self, ev: Evaluator) -> list[Any] | None:
        return list(self.values) if self.is_mapping else None

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        return len(self.values)

    def variables(self) -> dict[str, Any] | None:
        return dict(self.values)
