"""Classes, enumerations and `super()`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.class_bodies import ClassBodies
from fibcore.elaborate.python.definitions import shortened
from fibcore.elaborate.python.mangling import mangle
from fibcore.elaborate.python.metaclasses import Metaclasses
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.registrars import registry_of
from fibcore.elaborate.python.values import (
    ABSENT,
    OTHER_KEYS,
    Bound,
    Class,
    EnumMember,
    Env,
    Ext,
    Func,
    Obj,
    Raised,
    Super,
    contradicts,
)
from fibcore.elaborate.python.values.dicts import ClassNames
from fibcore.elaborate.python.values.exceptions import EXCEPTIONS
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_NO_OBJECTS = (ast.Constant, ast.List, ast.Dict, ast.Set, ast.Tuple, ast.JoinedStr, ast.BinOp)
_WITHOUT_DICT = ("object", "ABC", "Generic", "Protocol")


class Classes(Part):
    """Makes classes, and looks up what they hold."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.bodies = ClassBodies(evaluator)
        self.metaclasses = Metaclasses(evaluator)
        # Counts changes of classes after which what is remembered of descriptors is found anew.
        self.generation = 0
        # Whether any class got an attribute whose name is not known.
        self.opened = False

    def attr(self, cls: Class, name: str, after: Class | None = None) -> Any:
        """What the MRO holds under `name` (functions unbound), or ABSENT; starts behind `after`."""
        mro = cls.mro
        start = mro.index(after) + 1 if after is not None and after in mro else 0
        for base in mro[start:]:
            if isinstance(base, Class):
                value = self.own_attr(base, name)
                if value is not ABSENT:
                    return value
        if self.opened and not name.startswith("__"):
            for base in mro[start:]:
                if isinstance(base, Class) and OTHER_KEYS in base.attrs:
                    return Unknown.attribute(f"{name}, which a class may have got", base.place)
        return ABSENT

    def own_attr(self, cls: Class, name: str) -> Any:
        """What the class itself binds to `name`, or ABSENT."""
        if cls.former is not None and name in cls.former and cls.module.at is not None:
            at = cls.module.at
            for position, value in cls.former[name]:
                if position > at:  # it had not been changed yet
                    return value
        value = cls.attrs[name] if name in cls.attrs else self.bodies.attr(cls, name)
        if cls.registry is not None and name in cls.registry.tables:
            self.ev.registries.read_of(cls)
        return value

    # -- how classes are made ------------------------------------------------------------------

    def define(self, node: ast.ClassDef, env: Env) -> Any:
        """What the definition of a class makes, before it is decorated."""
        if env.module.source.has_private:
            mangle(node)
        place = env.module.place(node)
        cls = Class(node, env.module, env, self._bases(node, env))
        if env.outer is None:
            cls.position = env.module.at
            cls.registry = registry_of(env.module.source, node)
        # Decorators of records are asked for by their names.
        cls.decorators = [ast.unparse(d).partition("(")[0] for d in node.decorator_list]
        given = {k.arg: k.value for k in node.keywords}
        meta = given.pop("metaclass", None)
        made_by = None if meta is None else self.ev.expressions.eval(meta, env)
        cls.metaclass_name = (
            getattr(made_by, "short", "")
            if isinstance(made_by, Ext)
            else next(
                (b.metaclass_name for b in cls.bases if isinstance(b, Class) and b.metaclass_name),
                "",
            )
        )
        inherited = (b.metaclass for b in cls.bases if isinstance(b, Class))
        cls.metaclass = (
            made_by if isinstance(made_by, Class) else next((m for m in inherited if m), None)
        )
        if contradicts(cls) is True:
            why = f"the bases of {cls.name} contradict each other"
            raise Raised("TypeError", why, place)
        for base in cls.bases:
            if isinstance(base, Class) and base.is_enum is not False and self.enum_members(base):
                raise Raised("TypeError", f"{base.name} has members and cannot be extended", place)
        self.bodies.prepare(cls, env)
        if "__slots__" in cls.names:
            self._check_slots(cls)
        options = {str(k): self.ev.expressions.eval(v, env) for k, v in given.items()}
        if isinstance(made_by, (Unknown, Alternatives)):
            self.bodies.complete(cls)
            return Unknown(f"{cls.name}, a class whose metaclass is not known", place)
        made = self.metaclasses.made(cls, options, place)
        if cls.complete and made is cls:
            self.enum_members(cls)  # raises what an enumeration that Python refuses does
        return made

    def _bases(self, node: ast.ClassDef, env: Env) -> list[Any]:
        bases: list[Any] = []
        for base in node.bases:
            if isinstance(base, ast.Starred):
                items = self.ev.operators.items(self.ev.expressions.eval(base.value, env))
                bases += items if items is not None else [Ext("unknown." + shortened(base))]
                continue
            value = self.ev.expressions.eval(base, env)
            known = isinstance(value, (Class, Ext))
            if isinstance(value, (Unknown, Alternatives)):
                self.ev.exceptions.may_raise(env.module.place(base), "TypeError")
            bases.append(value if known else Ext("unknown." + shortened(base)))
        return bases

    def _check_slots(self, cls: Class) -> None:
        for name in self.slots(cls) or ():
            if name in cls.names and name not in ("__dict__", "__qualname__"):
                raise Raised("ValueError", f"{name!r} in __slots__ is in the class too", cls.place)

    def announce(self, cls: Class, options: dict[str, Any], place: SourcePlace) -> None:
        """Tell the bases of a new class."""
        hook = self.attr(cls, "__init_subclass__", after=cls)
        if isinstance(hook, Func):
            self.ev.calls.call(Bound(hook, cls), [], options, place)
        elif options and not any(map(_takes_options, cls.mro)):
            raise Raised("TypeError", f"{cls.name}.__init_subclass__() takes no keywords", place)

    def set_name(self, cls: Class, name: str, value: Any) -> None:
        """Tell a descriptor the name that a class body binds it to."""
        if not isinstance(value, Obj) or not isinstance(value.cls, Class):
            return
        method = self.attr(value.cls, "__set_name__")
        if isinstance(method, Func):
            self.ev.calls.call(Bound(method, value), [cls, name], {}, cls.place)

    def enum_members(self, cls: Class) -> tuple[EnumMember, ...] | None:
        """The members of an enumeration; None for any other class."""
        return None if cls.is_enum is False else self.ev.enums.members(cls)

    # -- what is known of a class's attributes --------------------------------------------------

    def descriptors(self, cls: Class) -> frozenset[str]:
        """Names that may stand for data descriptors in a class, by its syntax and by what it got.

        With `__getattribute__` where the source defines one.
        """
        known = cls.known_descriptors
        if known is not None and known[0] == self.generation:
            return known[1]
        found = frozenset(
            name
            for base in cls.mro
            if isinstance(base, Class)
            for name in (*base.names, *base.attrs)
            if _may_describe(base, name)
        )
        cls.known_descriptors = (self.generation, found)
        return found

    def data_descriptor(self, cls: Class, name: str) -> Any:
        """The property, or object with `__set__`, that a class holds under a name, or ABSENT."""
        found = self.attr(cls, name)
        if isinstance(found, Func):
            return found if found.kind == "property" else ABSENT
        if isinstance(found, Obj) and isinstance(found.cls, Class):
            names = ("__set__", "__delete__")
            if any(self.attr(found.cls, n) is not ABSENT for n in names):
                return found
        return ABSENT

    def stores_plainly(self, cls: Class) -> bool:
        """Whether assigning to an attribute that no descriptor has for a name just stores it."""
        known = cls.known_storage
        if known is not None and known[0] == self.generation:
            return known[1]
        plain = (
            not isinstance(self.attr(cls, "__setattr__"), Func)
            and not self.ev.records.is_frozen(cls)
            and any(map(self._has_dict, cls.mro))
        )
        cls.known_storage = (self.generation, plain)
        return plain

    def _has_dict(self, base: Any) -> bool:
        """Whether a class of an MRO gives instances attributes of any name."""
        if not isinstance(base, Class):
            return base.short not in _WITHOUT_DICT
        record = self.ev.records.own(base)
        return "__slots__" not in base.names and (record is None or not record.slots)

    def keeps_dict(self, cls: Class) -> bool | None:
        """Whether instances keep all attributes in a dict; None where some are in slots."""
        held = {self._has_dict(base) for base in cls.mro if isinstance(base, Class)}
        held |= {True for base in cls.mro if isinstance(base, Ext) and self._has_dict(base)}
        return held.pop() if len(held) == 1 else None

    def has_slot(self, cls: Class, name: str) -> bool:
        """Whether instances of a class may have an attribute of this name, by its `__slots__`."""
        for base in cls.mro:
            if self._has_dict(base):
                return True
            if not isinstance(base, Class):
                continue
            if "__slots__" not in base.names:
                record = self.ev.records.own(base)
                if record is not None and name in record.names:
                    return True
                continue
            slots = self.own_attr(base, "__slots__")
            if isinstance(slots, str):
                slots = (slots,)
            if not isinstance(slots, (list, tuple, dict, set)) or name in slots:
                return True
            if "__dict__" in slots:
                return True
        return False

    def namespace(self, cls: Class) -> dict[str, Any]:
        """`vars(cls)`: all that its body binds, in order."""
        held = {name: self.own_attr(cls, name) for name in list(cls.names)}
        held.update(cls.attrs)
        found = ClassNames({name: value for name, value in held.items() if value is not ABSENT})
        for name in self.slots(cls) or ():
            found[name] = Unknown(f"the slot {name}", cls.place)
        if held.get("__eq__", ABSENT) is not ABSENT:
            found.setdefault("__hash__", None)
        return found

    def slots(self, cls: Class) -> tuple[str, ...] | None:
        """The names of a class's own `__slots__`; None where it has none or they are not known."""
        if "__slots__" not in cls.names:
            return None
        slots = self.own_attr(cls, "__slots__")
        if isinstance(slots, str):
            return (slots,)
        if not isinstance(slots, (list, tuple, dict)):
            return None
        return tuple(slots) if all(isinstance(name, str) for name in slots) else None

    def make_super(self, env: Env, place: SourcePlace) -> Any:
        """`super()` in the method that `env` belongs to."""
        # Comprehensions and functions inside of a method have scopes of their own.
        scope: Env | None = env
        while scope is not None and (scope.func is None or scope.func.cls is None):
            scope = scope.outer
        if scope is None or scope.func is None or isinstance(scope.func.node, ast.Lambda):
            return Unknown("super() outside of a method", place)
        args = scope.func.node.args
        first = [*args.posonlyargs, *args.args][0].arg
        cls = scope.func.cls
        assert cls is not None
        return Super(scope.vars.get(first), cls)

    def is_module(self, cls: Class) -> bool:
        """Whether instances of a class are `torch.nn.Module`s."""
        bases = self.ev.environment.module_bases
        return any(
            isinstance(c, Ext) and (c.name.startswith("torch.nn.") or c.short in bases)
            for c in cls.mro
        )


def _takes_options(base: Any) -> bool:
    """Whether a class outside of the source may take keywords of the definition of a class."""
    return isinstance(base, Ext) and base.short not in _WITHOUT_DICT and base.name not in EXCEPTIONS


def _may_describe(cls: Class, name: str) -> bool:
    """Whether what a class holds under a name may be a data descriptor."""
    if name == "__getattribute__":
        return True
    value = cls.attrs.get(name, ABSENT)
    if value is not ABSENT:
        return isinstance(value, Obj) or (isinstance(value, Func) and value.kind == "property")
    for statement in cls.names.get(name, ()):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if statement.decorator_list:
                return True
        elif not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not (
            statement.value is None or isinstance(statement.value, _NO_OBJECTS)
        ):
            return True
    return False
