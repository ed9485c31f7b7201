"""What is known of a record class and of its fields."""

from __future__ import annotations

import ast

import attrs

from fibcore.elaborate.python.values import Absent, Class

FieldSource = tuple[Class, ast.expr]
"""The expression of a field's default, and the class in whose scope it stands."""
_OPTIONS = {"init": True, "repr": True, "eq": True}


@attrs.frozen
class Field:
    """A field of a record.

    Attributes:
        name: Its name.
        source: Where its default is; ABSENT without one.
        options: The keywords of `field(...)`, as expressions.
        kw_only: Whether it is given by name alone.
        init_only: Whether it is an `InitVar`, which `__post_init__` alone gets.
    """

    name: str
    source: FieldSource | Absent
    options: dict[str, ast.expr] = attrs.field(factory=dict)
    kw_only: bool = False
    init_only: bool = False

    def flag(self, name: str, otherwise: bool = True) -> bool:
        """An option that is true or false."""
        node = self.options.get(name)
        return bool(node.value) if isinstance(node, ast.Constant) else otherwise

    @property
    def has_default(self) -> bool:
        """Whether it need not be given."""
        if isinstance(self.source, Absent):
            return False
        return not self.options or bool({"default", "default_factory"} & set(self.options))


@attrs.frozen
class Record:
    """What is known of a record class.

    Attributes:
        exact: Whether it is a dataclass or a NamedTuple, whose rules are followed to the letter.
        row: Whether its instances are tuples.
        fields: Its fields, in order.
        options: Options of the decorator.
    """

    cls: Class
    exact: bool
    row: bool
    fields: tuple[Field, ...]
    options: dict[str, bool]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields that instances hold."""
        return tuple(f.name for f in self.fields if not f.init_only)

    @property
    def positional(self) -> list[str]:
        """The names of the fields that are given by position."""
        if not self.exact:
            return [f.name for f in self.fields]
        return [f.name for f in self.fields if f.flag("init") and not f.kw_only]

    @property
    def compared(self) -> tuple[str, ...]:
        """The names of the fields that are compared."""
        return tuple(f.name for f in self.fields if not f.init_only and f.flag("compare"))

    @property
    def slots(self) -> bool:
        """Whether instances have no attributes but the fields."""
        return self.row or self.options.get("slots", False)

    def makes_hash(self, cls: Class) -> bool:
        """Whether the decorator of a class gives it a hash, whatever its body says of equality."""
        frozen = self.option("eq") and self.option("frozen")
        return self.cls is cls and (frozen or self.option("unsafe_hash"))

    def option(self, name: str) -> bool:
        """An option of the decorator."""
        return self.options.get(name, _OPTIONS.get(name, False))
