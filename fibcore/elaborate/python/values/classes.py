"""Classes of the source, their enumerations, and `super()`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Value
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import Bound, Func, Native
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values.scopes import Env, ModuleSpace
    from fibcore.model.tree import SourcePlace

MAX_ANCESTORS = 512
"""Classes in the linearisations of a class's bases; those of models have 30."""
_HARMLESS = frozenset((
    "object", "ABC", "Generic", "Module", "Protocol", "NamedTuple", "Struct", "Enum", "IntEnum",
    "StrEnum", "ModuleList", "Sequential", "ModuleDict", "ABCMeta",
))  # fmt: skip
"""Base classes outside of the source that add no attributes that matter."""


def has_foreign_attributes(cls: Class) -> bool:
    """Whether a base class outside of the source may have attributes that nobody here knows."""
    return any(isinstance(base, Ext) and base.short not in _HARMLESS for base in cls.mro)


class Class(Value):
    """A class of the source; its body is evaluated name by name.

    Attributes:
        attrs: What was evaluated of its body so far, and what was assigned to it.
        names: The statements of its body by the name that they bind.
        leaf: Whether its instances are leaves; None until that was asked.
        members: The members of an enumeration; None until they were asked for.
    """

    __slots__ = (
        "_mro", "attrs", "bases", "decorators", "env", "leaf", "members", "module", "names", "node",
    )  # fmt: skip

    def __init__(self, node: ast.ClassDef, module: ModuleSpace, env: Env, bases: list[Any]) -> None:
        self.node = node
        self.module = module
        self.env = env
        self.bases = bases
        self.decorators: list[str] = []
        self.attrs: dict[str, Any] = {}
        self.names: dict[str, list[ast.stmt]] = {}
        self.leaf: bool | None = None
        self.members: list[EnumMember] | None = None
        self._mro: list[Any] | None = None

    def __repr__(self) -> str:
        return f"Class({self.qualified})"

    @property
    def name(self) -> str:
        """The name without the module."""
        return self.node.name

    @property
    def qualified(self) -> str:
        """The name with the module."""
        return f"{self.module.name}.{self.node.name}"

    @property
    def place(self) -> SourcePlace:
        """Where it is defined."""
        return self.module.place(self.node)

    @property
    def mro(self) -> list[Any]:
        """Classes to look attributes up in, nearest first; `Ext` bases included."""
        if self._mro is None:
            self._mro = _linearise(self)
        return self._mro

    def derives(self, *names: str) -> bool:
        """Whether a class of the MRO has one of these names, qualified or not."""
        for cls in self.mro:
            full = cls.qualified if isinstance(cls, Class) else getattr(cls, "name", "")
            if full in names or full.rpartition(".")[2] in names:
                return True
        return False

    @property
    def shown(self) -> str:
        return self.name

    @property
    def kind_name(self) -> str:
        return self.name

    @property
    def dotted_name(self) -> str:
        return self.qualified

    @property
    def instance_class(self) -> Any:
        return self  # of class methods, which have the class itself for an owner

    def has_instance(self, value: Any) -> bool | None:
        if isinstance(value, Unknown):
            return False if value.is_tensor else None
        return value.is_of(self) if isinstance(value, Value) else False

    def is_of_external(self, name: str) -> bool | None:
        return name.rpartition(".")[2] == "Callable"

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in ("__name__", "__qualname__"):
            return self.name
        if name == "__module__":
            return self.module.name
        members = ev.classes.enum_members(self)
        if members is not None:
            for member in members:
                if member.name == name:
                    return member
            if name == "__members__":
                return {m.name: m for m in members}
        found = ev.classes.attr(self, name)
        if isinstance(found, Func):
            return Bound(found, self) if found.kind == "classmethod" else found
        if found is ABSENT:
            inherited = ev.environment.super_method(self, name)
            return self._common_attr(name, place) if inherited is ABSENT else inherited
        return found

    def _common_attr(self, name: str, place: SourcePlace) -> Any:
        """What every class has, or a base class outside of the source may have."""
        if name == "__mro__":
            return tuple(self.mro)
        if name == "__new__":
            return Native(name, lambda ev, args, kwargs, at: ev.construction.bare(args, at))
        if name in ("__doc__", "__annotations__"):
            return Unknown(f"{name} of a class", place)
        if has_foreign_attributes(self):
            return Unknown(f"{self.name}.{name}, perhaps of a base class", place)
        return ABSENT

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        ev.writes.put(self.attrs, name, value)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        members = ev.classes.enum_members(self)
        if members is None:
            return ABSENT
        ev.layers.pin(item)
        return any(m == item or m.value == item for m in members)

    def items(self, ev: Evaluator) -> list[Any] | None:
        members = ev.classes.enum_members(self)
        return None if members is None else list(members)

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return True

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return ev.construction.construct(self, args, kwargs, place)


def _linearise(cls: Class) -> list[Any]:
    """C3; falls back to depth-first order where the bases contradict each other.

    Python refuses such classes, but bases outside of the source are known by their names alone, and
    what they derive from is not.
    """
    # Those of the bases are known, each by itself: a class can be reached in very many ways.
    sequences = [list(b.mro) if isinstance(b, Class) else [b] for b in cls.bases]
    sequences.append(list(cls.bases))
    if sum(map(len, sequences)) > MAX_ANCESTORS:
        raise Exhausted(f"a class with more than {MAX_ANCESTORS} ancestors", cls.place)
    result: list[Any] = [cls]
    sequences = [list(s) for s in sequences if s]
    while sequences:
        for sequence in sequences:
            head = sequence[0]
            if not any(head in other[1:] for other in sequences):
                break
        else:
            head = sequences[0][0]
        result.append(head)
        sequences = [[c for c in s if c is not head and c != head] for s in sequences]
        sequences = [s for s in sequences if s]
    return result


class EnumMember(Value):
    """A member of an enumeration of the source."""

    __slots__ = ("cls", "name", "value")

    def __init__(self, cls: Class, name: str, value: Any) -> None:
        self.cls = cls
        self.name = name
        self.value = value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, EnumMember):
            return other.cls is self.cls and other.name == self.name
        if self.cls.derives("IntEnum", "StrEnum", "str", "int"):
            return bool(self.value == other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"{self.cls.name}.{self.name}"

    @property
    def dotted_name(self) -> str:
        return f"{self.cls.qualified}.{self.name}"

    def type_of(self, place: SourcePlace) -> Any:
        return self.cls

    def is_python(self, name: str, kind: type) -> bool:
        return self.cls.derives(name, "IntEnum" if name == "int" else "StrEnum")

    def is_of(self, cls: Any) -> bool | None:
        return cls in self.cls.mro

    def same_as(self, other: Any) -> bool:
        return bool(self == other)

    def truth(self, ev: Evaluator) -> bool | None:
        if self.cls.derives("IntEnum", "IntFlag", "Flag"):
            return ev.operators.truth(self.value)
        return True

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        ev.layers.pin(other)
        return bool(self == other)

    def identical(self, other: Any) -> bool | None:
        return bool(self == other)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in ("name", "value", "_value_", "_name_"):
            return self.name if "name" in name else self.value
        found = ev.classes.attr(self.cls, name)
        return ev.attributes.bind(found, self, self.cls, place)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return Unknown(f"a call of {self!r}", place)


class Super(Value):
    """`super()` of an instance (or class) at one class of its MRO."""

    __slots__ = ("after", "self")

    def __init__(self, self_: Any, after: Class) -> None:
        self.self = self_
        self.after = after

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        owner = self.self
        cls = owner.instance_class if isinstance(owner, Value) else None
        if not isinstance(cls, Class):
            return Unknown("super() of something unknown", place)
        found = ev.classes.attr(cls, name, after=self.after)
        if found is ABSENT:
            return ev.attributes.of_foreign_base(owner, name, place)
        return ev.attributes.bind(found, owner, cls, place)
