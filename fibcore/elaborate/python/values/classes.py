"""Classes of the source, their enumerations, and `super()`."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised, Value
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import Bound, Func, Native, qualified_name
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.areas import Registry
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


_EXCEPTIONS = {
    name: frozenset(dir(kind))
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
"""What attributes each of Python's exceptions has."""


_NAMES = frozenset(("__name__", "__qualname__", "__module__"))


def has_foreign_attributes(cls: Class) -> bool:
    """Whether a base class outside of the source may have attributes that nobody here knows."""
    return any(isinstance(base, Ext) and base.short not in _HARMLESS for base in cls.mro)


def may_have_foreign(ev: Evaluator, cls: Class, name: str) -> bool:
    """Whether an instance may have an attribute from base classes outside of the source."""
    return any(
        isinstance(base, Ext)
        and base.short not in _HARMLESS
        and ev.environment.may_have(base.name, name)
        for base in cls.mro
    )


def may_inherit(ev: Evaluator, cls: Class, name: str) -> bool:
    """Whether a base class outside of the source may have an attribute of this name."""
    return any(
        isinstance(base, Ext)
        and base.short not in _HARMLESS
        and name in _EXCEPTIONS.get(base.name, (name,))
        and ev.environment.may_have(base.name, name)
        for base in cls.mro
    )


def is_of_source(cls: Class) -> bool:
    """Whether a class has no bases outside of the source but `object` and `ABC`."""
    return all(isinstance(b, Class) or b.short in ("object", "ABC") for b in cls.mro)


def may_be_generic(cls: Class) -> bool:
    """Whether a class may give something for `cls[...]` without saying so itself."""
    return any(
        base.short not in ("object", "ABC", "Module")
        and "__class_getitem__" in _EXCEPTIONS.get(base.name, ("__class_getitem__",))
        if isinstance(base, Ext)
        else bool(getattr(base.node, "type_params", None))
        for base in cls.mro
    )


class Class(Value):
    """A class of the source; its body is evaluated name by name.

    Attributes:
        attrs: What was evaluated of its body so far, and what was assigned to it.
        names: The statements of its body by the name that they bind.
        leaf: Whether its instances are leaves; None until that was asked.
        members: The members of an enumeration by name; None until they were asked for.
        complete: Whether its whole body has been run.
        position: The position of its statement in the module; None for a class of a function.
        metaclass: The class of the source that it is an instance of, if any.
        metaclass_name: The name of a class outside of the source that it is an instance of.
        put_off: Statements of a complete body that are run when their name is read, by that name.
        registry: The containers of it in which other modules register something, until one is read.
        former: What attributes were before statements of the module changed them, by the positions
            of those; None where none did.
    """

    __slots__ = (
        "_mro", "attrs", "bases", "complete", "decorators", "env", "former", "is_enum",
        "known_descriptors", "known_storage", "leaf", "members", "metaclass", "metaclass_name",
        "module", "names", "node", "position", "put_off", "registry",
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
        self.members: dict[str, Any] | None = None
        self._mro: list[Any] | None = None
        self.complete = False
        self.put_off: dict[str, ast.Assign] = {}
        self.former: dict[str, list[tuple[int, Any]]] | None = None
        self.position: int | None = None
        self.metaclass: Class | None = None
        self.metaclass_name = ""
        self.known_descriptors: tuple[int, frozenset[str]] | None = None
        self.known_storage: tuple[int, bool] | None = None
        self.is_enum: bool | None = None
        self.registry: Registry | None = None

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

    def type_of(self, place: SourcePlace) -> Any:
        return self.metaclass or Unknown("the class of a class", place)

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

    @property
    def qualname(self) -> str:
        """The name with the classes and functions around it."""
        return qualified_name(self.env, self.name)

    def has_instance(self, value: Any) -> bool | None:
        if self.metaclass is not None and "__instancecheck__" in self.metaclass.names:
            return None
        if isinstance(value, Unknown):
            return False if value.is_there else None
        return value.is_of(self) if isinstance(value, Value) else False

    def is_of_external(self, name: str) -> bool | None:
        return name.rpartition(".")[2] == "Callable"

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in _NAMES:
            return self.named(ev, name)
        if ev.classes.enum_members(self) is not None:
            members = ev.enums.by_name(self)
            if name in members:
                return members[name]
            if name == "__members__":
                return members
        found = ev.classes.attr(self, name)
        if isinstance(found, Func):
            return Bound(found, self) if found.kind == "classmethod" else found
        if found is ABSENT:
            inherited = ev.environment.super_method(self, name)
            return self._of_metaclass(ev, name, place) if inherited is ABSENT else inherited
        return ev.attributes.bind_to_class(found, self, place)

    def named(self, ev: Evaluator, name: str) -> Any:
        """`__name__` and the like, of the class or what was assigned to it."""
        if name in self.attrs or (name in self.names and name != "__name__"):
            return ev.classes.own_attr(self, name)
        if name == "__module__":
            return self.module.name
        return self.name if name == "__name__" else self.qualname

    def _of_metaclass(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """What the class of the class gives."""
        if self.metaclass is not None:
            found = ev.classes.attr(self.metaclass, name)
            if found is not ABSENT:
                return ev.attributes.bind(found, self, self.metaclass, place)
        return self._common_attr(ev, name, place)

    def _common_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """What every class has, or a base class outside of the source may have."""
        if name == "__mro__":
            return self._shown_mro(place)
        if name == "__bases__":
            return tuple(self.bases) or (Ext("object"),)
        if name == "__new__":
            return Native(name, lambda ev, args, kwargs, at: ev.construction.bare(args, kwargs, at))
        if name == "__doc__":
            return ast.get_docstring(self.node, False)
        if name == "__annotations__":
            return Unknown(f"{name} of a class", place)
        if name == "__dict__":
            return ev.classes.namespace(self)
        found = ev.records.attr_of_class(self, name)
        if found is not ABSENT:
            return found
        found = ev.object_methods.of_class(self, name)
        if found is not ABSENT:
            return found
        if any(
            isinstance(b, Class) and "__slots__" in b.names and name in (ev.classes.slots(b) or ())
            for b in self.mro
        ):
            return Unknown.attribute(f"the slot {name}", place)
        if may_inherit(ev, self, name):
            return Unknown.attribute(f"{self.name}.{name}, perhaps of a base class", place)
        return ABSENT

    def _shown_mro(self, place: SourcePlace) -> Any:
        known = [b for b in self.mro if isinstance(b, Class) or b.short in _HARMLESS]
        foreign = [b for b in self.mro if b not in known]
        if foreign and not (len(foreign) == 1 and foreign[0].name in _EXCEPTIONS):
            return Unknown("__mro__ of a class with bases that are not known", place)
        for base in foreign:
            known += [Ext(kind.__name__) for kind in getattr(builtins, base.name).__mro__[:-1]]
        return (*(b for b in known if b != Ext("object")), Ext("object"))

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        if ev.classes.enum_members(self) is not None and name in ev.enums.by_name(self):
            raise Raised("AttributeError", f"cannot reassign member {name!r}", place)
        if isinstance(value, Value):
            # It may be a descriptor: what was remembered of such does not hold any more.
            ev.classes.generation += 1
        elif self.metaclass is not None and self._sets_by_metaclass(ev, name, value, place):
            return
        self._keep_former(ev, name)
        ev.writes.put(self.attrs, name, value)

    def _keep_former(self, ev: Evaluator, name: str) -> None:
        """Remember what an attribute is before a statement of the module changes it."""
        at = self.module.at
        if at is None:
            ev.classes.bodies.run_put_off()  # which may read it
        elif self.position is not None and at > self.position:
            self.former = self.former or {}
            self.former.setdefault(name, []).append((at, ev.classes.own_attr(self, name)))

    def _sets_by_metaclass(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> bool:
        setter = ev.classes.attr(self.metaclass, "__setattr__") if self.metaclass else ABSENT
        if isinstance(setter, Func):
            ev.calls.call(Bound(setter, self), [name, value], {}, place)
            return True
        return False

    def del_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> None:
        """`del cls.name`."""
        if ev.classes.own_attr(self, name) is ABSENT:
            raise Raised("AttributeError", f"{self.name} has no attribute {name!r}", place)
        self.names.pop(name, None)
        ev.writes.put(self.attrs, name, ABSENT)

    def special(self, ev: Evaluator, name: str, args: Args, place: SourcePlace) -> Any:
        """What a special method of the metaclass gives; ABSENT without one."""
        if self.metaclass is None:
            return ABSENT
        found = ev.classes.attr(self.metaclass, name)
        return ABSENT if found is ABSENT else ev.calls.call(Bound(found, self), args, {}, place)

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        return self.special(ev, "__getitem__", [key], place)

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        found = self.special(ev, "__len__", [], place)
        return super().length(ev, place) if found is ABSENT else found

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        members = ev.classes.enum_members(self)
        if members is None:
            found = self.special(ev, "__contains__", [item], place)
            truth = None if found is ABSENT else ev.operators.truth(found)
            return ABSENT if truth is None else truth
        return ev.enums.contains(self, item, place)

    def items(self, ev: Evaluator) -> list[Any] | None:
        if ev.classes.enum_members(self) is not None:
            return ev.enums.canonical(self)
        found = self.special(ev, "__iter__", [], self.place)
        return None if found is ABSENT else ev.operators.items(found)

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return True

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if self.metaclass is not None:
            caller = ev.classes.attr(self.metaclass, "__call__")
            if isinstance(caller, Func):
                return ev.calls.call(Bound(caller, self), args, kwargs, place)
        return ev.construction.construct(self, args, kwargs, place)


def _linearise(cls: Class) -> list[Any]:
    """C3; falls back to depth-first order where the bases contradict each other.

    Python refuses such classes, but bases outside of the source are known by their names alone, and
    what they derive from is not.
    """
    return _linearised(cls)[0]


def contradicts(cls: Class) -> bool | None:
    """Whether Python refuses the bases of a class; None where that depends on foreign classes."""
    order, orderly = _linearised(cls)
    if orderly:
        return False
    return None if any(isinstance(c, Ext) and c.short != "object" for c in order) else True


def _linearised(cls: Class) -> tuple[list[Any], bool]:
    # Those of the bases are known, each by itself: a class can be reached in very many ways.
    sequences = [list(b.mro) if isinstance(b, Class) else [b] for b in cls.bases]
    sequences.append(list(cls.bases))
    if sum(map(len, sequences)) > MAX_ANCESTORS:
        raise Exhausted(f"a class with more than {MAX_ANCESTORS} ancestors", cls.place)
    result: list[Any] = [cls]
    orderly = True
    sequences = [s for s in sequences if s]
    while sequences:
        for sequence in sequences:
            head = sequence[0]
            if not any(head in other[1:] for other in sequences):
                break
        else:
            head = sequences[0][0]
            orderly = False
        result.append(head)
        sequences = [[c for c in s if c is not head and c != head] for s in sequences]
        sequences = [s for s in sequences if s]
    return result, orderly


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
        if self.after not in cls.mro and isinstance(owner, Class) and owner.metaclass is not None:
            cls = owner.metaclass  # in a method of the metaclass
        found = ev.classes.attr(cls, name, after=self.after)
        if found is ABSENT:
            return ev.attributes.of_foreign_base(owner, name, place)
        if owner is cls and isinstance(found, Func) and found.kind == "function":
            return found  # `super().__init_subclass__` and the like have the class as their owner
        return ev.attributes.bind(found, owner, cls, place)
