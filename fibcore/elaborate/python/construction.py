"""Instances of classes of the source."""

from __future__ import annotations

import ast
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    ACTIVE,
    Args,
    Bound,
    Class,
    EnumMember,
    Ext,
    Func,
    Kwargs,
    Mod,
    Native,
    Obj,
    Raised,
    Value,
    born,
    has_foreign_attributes,
)
from fibcore.elaborate.python.values.exceptions import ExceptionObject, exception_bases
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_CONTAINERS = frozenset((
    "dict", "list", "tuple", "str", "int", "float", "set", "frozenset", "bytes", "OrderedDict",
    "TypedDict", "defaultdict", "Counter", "UserDict", "UserList", "UserString", "deque",
    "ChainMap", "complex",
))  # fmt: skip


class Construction(Part):
    """Constructs instances.

    Attributes:
        building: The modules whose `__init__` is running, innermost last.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.building: list[Mod] = []

    def construct(self, cls: Class, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """An instance of a class of the source."""
        environment = self.ev.environment
        fact = environment.function(cls.qualified, cls.module.name)
        if fact is not ABSENT:
            return fact.fn(self.ev, args, kwargs, place) if isinstance(fact, Native) else fact
        if self.ev.classes.enum_members(cls) is not None:
            return self.ev.enums.by_value(cls, args, place)
        if self.ev.classes.is_module(cls):
            return self.module(cls, args, kwargs, place)
        new = self.ev.classes.attr(cls, "__new__")
        if isinstance(new, Func):
            return self._by_new(cls, new, args, kwargs, place)
        made = environment.construct(cls, args, kwargs)
        if made is not ABSENT:
            return made
        if any(isinstance(b, Ext) and b.short in _CONTAINERS for b in cls.mro):
            return Unknown(f"an instance of {cls.name}, which is a builtin container", place)
        self._refuse_abstract(cls, place)
        obj = ExceptionObject(cls, tuple(args), place) if exception_bases(cls) else Obj(cls, place)
        self._initialise(obj, cls, args, kwargs, place)
        return obj

    def _initialise(
        self, obj: Obj, cls: Class, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> None:
        """Run the constructor of an object, or do what a generated one does."""
        record = self.ev.records.constructor(cls)
        if record is not None:
            self.ev.records.fill(obj, record, args, kwargs, place)
            return
        init = self.ev.classes.attr(cls, "__init__")
        if isinstance(init, Func):
            given = [obj, *args]
            bound = self.ev.calls.bind_arguments(init, given, kwargs, place)
            obj.args = _without_instance(init, bound)
            found = self.ev.calls.call_function(init, given, kwargs, place, bound=bound)
            if found is not None and not isinstance(found, (Unknown, Alternatives)):
                raise Raised("TypeError", "__init__() should return None", place)
        elif isinstance(init, Value):
            self.ev.calls.call(Bound(init, obj), args, kwargs, place)
        elif args or kwargs:
            if init is ABSENT and not has_foreign_attributes(cls):
                raise Raised("TypeError", f"{cls.name}() takes no arguments", place)
            obj.args = {**{f"arg{i}": a for i, a in enumerate(args)}, **kwargs}

    def _by_new(self, cls: Class, new: Func, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """An instance by a `__new__` of the source."""
        made = self.ev.calls.call_function(new, [cls, *args], kwargs, place)
        if type(made) is Obj and isinstance(made.cls, Class) and cls in made.cls.mro:
            init = self.ev.classes.attr(made.cls, "__init__")
            if isinstance(init, Func) or self.ev.records.constructor(made.cls) is not None:
                self._initialise(made, made.cls, args, kwargs, place)
        return made

    def _refuse_abstract(self, cls: Class, place: SourcePlace) -> None:
        """Raise for a class that has abstract methods left."""
        foreign = {b.short for b in cls.mro if isinstance(b, Ext)}
        if not foreign & {"ABC", "ABCMeta"} and cls.metaclass_name != "ABCMeta":
            return
        seen: set[str] = set()
        for base in cls.mro:
            if not isinstance(base, Class):
                continue
            for name, statements in base.names.items():
                if name not in seen and is_abstract(statements[0]):
                    raise Raised("TypeError", f"abstract class {cls.name} with {name}", place)
                seen.add(name)
            seen.update(base.attrs)

    def bare(self, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`cls.__new__(cls)`: an instance whose constructor has not been run."""
        cls = args[0] if args else None
        if isinstance(cls, Class) and cls.derives("type"):
            return self.ev.classes.metaclasses.by_type(args, kwargs, place)
        if not isinstance(cls, Class):
            return Unknown("an instance of something that is no class", place)
        if self.ev.classes.enum_members(cls) is not None:
            return EnumMember(cls, None, ABSENT)
        if any(isinstance(b, Ext) and b.short in _CONTAINERS for b in cls.mro):
            return Unknown(f"an instance of {cls.name}, which is a builtin container", place)
        made = Mod(cls, place) if self.ev.classes.is_module(cls) else Obj(cls, place)
        self.ev.keep.append(made)
        return made

    # -- modules -------------------------------------------------------------------------------

    def module(self, cls: Class, args: Args, kwargs: Kwargs, place: SourcePlace) -> Mod:
        """A module of a class of the source."""
        mod = Mod(cls, place)
        mod.late = self.ev.mode.forward
        self.ev.keep.append(mod)
        init = self.ev.classes.attr(cls, "__init__")
        if not isinstance(init, Func):
            self.ev.libraries.init_module(mod, args, kwargs, place)
            return mod
        given = [mod, *args]
        bound = self.ev.calls.bind_arguments(init, given, kwargs, place)
        mod.args = _without_instance(init, bound)
        if self.is_leaf(cls):
            mod.leaf = True
            mod.pending = partial(self._run_init, init, mod, args, kwargs, place)
            return mod
        if any(isinstance(c, Ext) and c.short in ("ModuleList", "Sequential") for c in cls.mro):
            mod.entries = born([])
        self.building.append(mod)
        try:
            self.ev.calls.call_function(init, given, kwargs, place, bound=bound)
        finally:
            self.building.pop()
        return mod

    def _run_init(
        self, init: Func, mod: Mod, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> None:
        """Run a leaf's own `__init__`, because somebody reads one of its attributes.

        What it holds does not depend on the branch in which it is first asked, nor on whether that
        is in the forward pass. What fails in it is no loss: the arguments say what the leaf is.
        """
        # It belongs to the layer that it was made for, whichever asks first.
        layer = ACTIVE.tracker if mod.born is ACTIVE.tracker else None
        with self.ev.aside(), self.ev.layers.tracking(layer):
            try:
                self.ev.calls.call_function(init, [mod, *args], kwargs, place)
            except Raised as error:
                why = f"{mod.class_name}.__init__ raised {error.kind}: {error.message}"
                self.ev.notes.append(Unknown(why, error.place))

    def is_leaf(self, cls: Class) -> bool:
        """Whether a module class is a building block, by what the environment says of it."""
        if cls.leaf is None:
            cls.leaf = self.ev.environment.is_leaf(self.ev, cls)
        return cls.leaf

    def leaf_method(
        self, owner: Mod, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """A method of a leaf while the model is built: no loss where it does not work."""
        try:
            return self.ev.calls.call_function(func, [owner, *args], kwargs, place)
        except Raised as error:
            return Unknown(f"{owner.class_name}.{func.name} raised {error.kind}", error.place)


def _without_instance(init: Func, bound: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor by parameter; those of `**kwargs` by their own names."""
    names = iter(bound)
    next(names, None)
    found = {name: bound[name] for name in names}
    spec = init.node.args
    if spec.kwarg is not None:
        for name, value in found.pop(spec.kwarg.arg, {}).items():
            found.setdefault(name, value)
    return found


def is_abstract(node: ast.stmt) -> bool:
    """Whether a definition is marked as an abstract method."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return any(
        (d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "")).startswith("abstract")
        for d in node.decorator_list
    )
