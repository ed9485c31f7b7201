"""Instances of classes of the source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    ACTIVE,
    Args,
    Bound,
    Class,
    Ext,
    Func,
    Kwargs,
    Mod,
    Native,
    Obj,
    Raised,
    born,
)
from fibcore.elaborate.python.values.exceptions import ExceptionObject, exception_bases
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_CONTAINERS = ("dict", "list", "tuple", "str", "int")


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
            return self._enum_by_value(cls, args, place)
        if self.ev.classes.is_module(cls):
            return self.module(cls, args, kwargs, place)
        made = environment.construct(cls, args, kwargs)
        if made is not ABSENT:
            return made
        obj = ExceptionObject(cls, tuple(args), place) if exception_bases(cls) else Obj(cls, place)
        init = self.ev.classes.attr(cls, "__init__")
        fields = self.ev.records.fields(cls) if not isinstance(init, Func) else None
        if fields is not None:
            self.ev.records.fill(obj, fields, args, kwargs, place)
        elif isinstance(init, Func):
            obj.args = self._arguments(init, obj, args, kwargs, place)
            self.ev.calls.call_function(init, [obj, *args], kwargs, place)
        elif args or kwargs:
            obj.args = {**{f"arg{i}": a for i, a in enumerate(args)}, **kwargs}
            if any(isinstance(b, Ext) and b.short in _CONTAINERS for b in cls.mro):
                return Unknown(f"an instance of {cls.name}, which is a builtin container", place)
        return obj

    def bare(self, args: Args, place: SourcePlace) -> Any:
        """`cls.__new__(cls)`: an instance whose constructor has not been run."""
        cls = args[0] if args else None
        if not isinstance(cls, Class):
            return Unknown("an instance of something that is no class", place)
        made = Mod(cls, place) if self.ev.classes.is_module(cls) else Obj(cls, place)
        self.ev.keep.append(made)
        return made

    def _enum_by_value(self, cls: Class, args: Args, place: SourcePlace) -> Any:
        value = args[0] if args else None
        if isinstance(value, (Unknown, Alternatives)):
            return Unknown(f"a member of {cls.name}", place)
        self.ev.layers.pin(value)
        for member in self.ev.classes.enum_members(cls) or ():
            if member == value or member.value == value:
                return member
        missing = self.ev.classes.attr(cls, "_missing_")
        if isinstance(missing, Func):
            return self.ev.calls.call(Bound(missing, cls), [value], {}, place)
        raise Raised("ValueError", f"{value!r} is no {cls.name}", place)

    def _arguments(
        self, init: Func, obj: Obj, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> dict[str, Any]:
        """The arguments of a constructor by parameter, without the instance."""
        found = self.ev.calls.bind_arguments(init, [obj, *args], kwargs, place)
        first = next(iter(found), None)
        if first is not None:
            del found[first]
        spec = init.node.args
        if spec.kwarg is not None:
            for name, value in found.pop(spec.kwarg.arg, {}).items():
                found.setdefault(name, value)
        return found

    # -- modules -------------------------------------------------------------------------------

    def module(self, cls: Class, args: Args, kwargs: Kwargs, place: SourcePlace) -> Mod:
        """A module of a class of the source."""
        mod = Mod(cls, place)
        self.ev.keep.append(mod)
        init = self.ev.classes.attr(cls, "__init__")
        if not isinstance(init, Func):
            self.ev.libraries.init_module(mod, args, kwargs, place)
            return mod
        mod.args = self._arguments(init, mod, args, kwargs, place)
        if self.is_leaf(cls):
            mod.leaf = True
            mod.pending = partial(self._run_init, init, mod, args, kwargs, place)
            return mod
        if any(isinstance(c, Ext) and c.short in ("ModuleList", "Sequential") for c in cls.mro):
            mod.entries = born([])
        self.building.append(mod)
        try:
            self.ev.calls.call_function(init, [mod, *args], kwargs, place)
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
