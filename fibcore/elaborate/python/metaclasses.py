"""Classes that a metaclass of the source makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import ABSENT, OTHER_KEYS, Args, Class, Ext, Func, Native
from fibcore.elaborate.python.values.base import Kwargs
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_DUNDERS = Unknown("names that Python adds to the namespace of a class")


class Metaclasses(Part):
    """Calls `__new__` and `__init__` of metaclasses.

    Attributes:
        making: The classes that a `__new__` is about to make, as their bodies say, innermost last.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.making: list[Class] = []

    def made(self, cls: Class, options: Kwargs, place: SourcePlace) -> Any:
        """What the metaclass makes of a definition.

        Args:
            cls: The class as its body says.
            options: The keywords of its definition.
            place: Where it is defined.
        """
        meta = cls.metaclass
        if meta is None:
            self.ev.classes.announce(cls, options, place)
            return cls
        if isinstance(self.ev.classes.attr(meta, "__prepare__"), Func):
            return Unknown("a class whose namespace its metaclass prepares", place)
        made: Any = cls
        space: dict[Any, Any] = dict(cls.attrs)
        new = self.ev.classes.attr(meta, "__new__")
        if isinstance(new, Func):
            made, space = self._by_new(cls, new, options, place)
        else:
            self.ev.classes.announce(cls, options, place)
        init = self.ev.classes.attr(meta, "__init__")
        if isinstance(init, Func) and isinstance(made, Class) and made.metaclass is meta:
            args = [made, cls.name, tuple(cls.bases), space]
            self.ev.calls.call_function(init, args, options, place)
        return made

    def _by_new(
        self, cls: Class, new: Func, options: Kwargs, place: SourcePlace
    ) -> tuple[Any, dict[Any, Any]]:
        # Which other names Python adds (`__module__`, `__classcell__`) differs by its version.
        space = {**cls.attrs, OTHER_KEYS: _DUNDERS}
        args = [cls.metaclass, cls.name, tuple(cls.bases), space]
        self.making.append(cls)
        try:
            return self.ev.calls.call_function(new, args, options, place), space
        finally:
            self.making.pop()

    def by_type(self, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """`type.__new__(meta, name, bases, namespace)`: the class that is being made."""
        cls = self.making[-1] if self.making else None
        if cls is None or len(args) != 4 or not self._is_it(cls, args):
            return Unknown("a class that a metaclass makes", place)
        space = {name: value for name, value in args[3].items() if isinstance(name, str)}
        for name in [name for name in cls.attrs if name not in space]:
            self.ev.writes.put(cls.attrs, name, ABSENT)
        for name, value in space.items():
            if cls.attrs.get(name, ABSENT) is not value:
                self.ev.writes.put(cls.attrs, name, value)
                self.ev.classes.bodies.adopt(cls, name, value)
        self.ev.classes.generation += 1
        self.ev.classes.announce(cls, kwargs, place)
        return cls

    def method_of_type(self, name: str) -> Any:
        """`type.name`, for what metaclasses call by way of the class."""
        if name == "__new__":
            return Native(name, lambda ev, args, kwargs, at: self.by_type(args, kwargs, at))
        if name == "__init__":
            return Native(name, lambda *_: None)
        if name == "__call__":
            return Native(name, _construct)
        return Unknown(f"{name} of type")

    @staticmethod
    def _is_it(cls: Class, args: Args) -> bool:
        meta, name, bases, space = args
        plain = isinstance(meta, Class) and all(
            isinstance(base, Class) or (isinstance(base, Ext) and base.short == "type")
            for base in meta.mro
        )
        plain = plain and meta is cls.metaclass
        same = name == cls.name and isinstance(bases, tuple) and list(bases) == cls.bases
        return plain and same and isinstance(space, dict) and OTHER_KEYS in space


def _construct(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if args and isinstance(args[0], Class):
        return ev.construction.construct(args[0], args[1:], kwargs, place)
    return Unknown("a call of something that is no class", place)
