"""Instances of classes of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised
from fibcore.elaborate.python.values.classes import Class, has_foreign_attributes
from fibcore.elaborate.python.values.external import Ext
from fibcore.elaborate.python.values.functions import PROPERTIES, Bound, Func, Receiver
from fibcore.elaborate.python.values.merging import copied, merge
from fibcore.elaborate.python.values.open_ended import OTHER_KEYS, may_be_absent
from fibcore.elaborate.python.values.tracking import born
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

SPECIAL_OPERATORS = {
    "Add": "add", "Sub": "sub", "Mult": "mul", "Div": "truediv", "FloorDiv": "floordiv",
    "Mod": "mod", "Pow": "pow", "LShift": "lshift", "RShift": "rshift", "BitAnd": "and",
    "BitOr": "or", "BitXor": "xor", "MatMult": "matmul",
}  # fmt: skip
"""The special methods of operators, without the underscores, by the name of their syntax."""
NOT_IMPLEMENTED = Ext("NotImplemented")
_PLAIN_BASES = frozenset((
    "object", "ABC", "Generic", "Module", "Protocol", "Enum", "Struct", "NamedTuple",
))  # fmt: skip
"""Base classes outside of the source that derive from no class that anybody asks for."""


class Obj(Receiver):
    """An instance of a class of the source that is no module, or of one outside of it.

    Attributes:
        attrs: Its attributes.
        args: What its constructor was given, by parameter.
    """

    __slots__ = ("args", "attrs", "cls", "place")

    def __init__(self, cls: Any, place: SourcePlace | None = None) -> None:
        self.cls = cls
        self.attrs: dict[str, Any] = born({})
        self.args: dict[str, Any] = {}
        self.place = place

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.class_name})"

    @property
    def class_name(self) -> str:
        """The name of its class, without the module."""
        return self.cls.name if isinstance(self.cls, (Class, Ext)) else str(self.cls)

    @property
    def shown(self) -> str:
        return self.class_name

    @property
    def dotted_name(self) -> str:
        return self.cls.qualified if isinstance(self.cls, Class) else str(self.cls.name)

    @property
    def instance_class(self) -> Any:
        return self.cls

    def type_of(self, place: SourcePlace) -> Any:
        return self.cls

    def is_of(self, cls: Any) -> bool | None:
        return cls in self.cls.mro if isinstance(self.cls, Class) else False

    def is_of_external(self, name: str) -> bool | None:
        if isinstance(self.cls, Class):
            if self.cls.derives(name):
                return True
            bases = (b for b in self.cls.mro if isinstance(b, Ext))
            # What another package's class derives from is not known.
            return None if any(b.short not in _PLAIN_BASES for b in bases) else False
        if isinstance(self.cls, Ext):
            return self.cls.name == name or (
                name in ("torch.nn.Module", "torch.nn.modules.module.Module")
            )
        return False

    def copied(self) -> Any:
        new = Obj(self.cls, self.place)
        new.attrs = born({k: copied(v) for k, v in self.attrs.items()})
        new.args = self.args
        return new

    def method(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """A special method, which Python looks up in the class alone; ABSENT without one."""
        if not isinstance(self.cls, Class):
            return ABSENT
        found = ev.classes.attr(self.cls, name)
        return ABSENT if found is ABSENT else ev.attributes.bind(found, self, self.cls, place)

    def special(self, ev: Evaluator, name: str, args: Args, place: SourcePlace) -> Any:
        """What a special method of its class gives; ABSENT without such a method."""
        method = self.method(ev, name, place)
        return ABSENT if method is ABSENT else ev.calls.call(method, args, {}, place)

    def lacks(self, ev: Evaluator, name: str) -> bool:
        """Whether its class certainly has no such special method."""
        if isinstance(self.cls, Ext):
            return self.cls.name == "object"
        if not isinstance(self.cls, Class) or has_foreign_attributes(self.cls):
            return False
        return ev.classes.attr(self.cls, name) is ABSENT

    def says(self, ev: Evaluator, name: str) -> bool:
        """Whether it is known if its class has a special method."""
        defined = isinstance(self.cls, Class) and ev.classes.attr(self.cls, name) is not ABSENT
        return defined or self.lacks(ev, name)

    def truth(self, ev: Evaluator) -> bool | None:
        place = self.place or SourcePlace("", 1)
        for name in ("__bool__", "__len__"):
            result = self.special(ev, name, [], place)
            if result is not ABSENT:
                return ev.operators.truth(result)
        return True

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        found = self.special(ev, "__eq__", [other], place)
        if found is ABSENT or found == NOT_IMPLEMENTED:
            return True if self is other else ABSENT
        return found

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        found = self.special(ev, "__getitem__", [key], place)
        return Unknown(f"{self!r}[...]", place) if found is ABSENT else found

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        self.special(ev, "__setitem__", [key, value], place)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        found = self.special(ev, "__contains__", [item], place)
        if found is ABSENT:
            iterator = ev.iteration.iterator(self, place)
            if isinstance(iterator, Unknown):
                return Unknown(f"membership in {self!r}", place)
            return iterator.contains(ev, item, place)
        truth = ev.operators.truth(found)
        return Unknown(f"membership in {self!r}", place) if truth is None else truth

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        found = self.special(ev, "__len__", [], place)
        return Unknown("a length", place) if found is ABSENT else found

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return self.find_attr(ev, "__call__", place) is not ABSENT

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        method = self.find_attr(ev, "__call__", place)
        if method is not ABSENT:
            return ev.calls.call(method, args, kwargs, place)
        return Unknown(f"a call of {self.class_name}", place)

    def operate(self, ev: Evaluator, op: str, other: Any, place: SourcePlace) -> Any:
        name = SPECIAL_OPERATORS.get(op)
        found = ABSENT if name is None else self.special(ev, f"__{name}__", [other], place)
        return ABSENT if found == NOT_IMPLEMENTED else found

    def operate_reflected(self, ev: Evaluator, op: str, other: Any, place: SourcePlace) -> Any:
        """`other + value` and the like, which the right side says; ABSENT where it does not."""
        name = SPECIAL_OPERATORS.get(op)
        found = ABSENT if name is None else self.special(ev, f"__r{name}__", [other], place)
        return ABSENT if found == NOT_IMPLEMENTED else found

    def operate_in_place(self, ev: Evaluator, op: str, other: Any, place: SourcePlace) -> Any:
        """`value += other` where its class has a method for that; else ABSENT."""
        name = SPECIAL_OPERATORS.get(op)
        found = ABSENT if name is None else self.special(ev, f"__i{name}__", [other], place)
        return ABSENT if found == NOT_IMPLEMENTED else found

    def variables(self) -> dict[str, Any] | None:
        return dict(self.attrs)

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        if self.lacks(ev, "__enter__"):
            raise Raised("TypeError", f"{self.class_name!r} object is no context manager", place)
        entered = self.special(ev, "__enter__", [], place)
        return self if entered is ABSENT else entered

    def leave(self, ev: Evaluator, error: Raised | None, place: SourcePlace) -> bool | None:
        left = self.method(ev, "__exit__", place)
        if left is ABSENT:
            return False
        given = ev.exceptions.exit_arguments(error, place)
        truth = ev.operators.truth(ev.calls.call(left, given, {}, place))
        return False if error is None else truth

    # -- attributes ----------------------------------------------------------------------------

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in self.attrs:
            held = self.attrs[name]
            if not may_be_absent(held):
                return held
            # Where it is not set, what the class has shows.
            behind = self._behind_attributes(ev, name, place)
            return merge([*(v for v in held.values if v is not ABSENT), behind])
        if OTHER_KEYS in self.attrs and not name.startswith("__"):
            return Unknown.attribute(f"attribute {name}, which may have been set", place)
        return self._behind_attributes(ev, name, place)

    def _behind_attributes(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """The attribute of an object that does not hold one of the name itself."""
        if name == "__class__":
            return self.cls
        if name == "__dict__":
            return self.attrs
        if isinstance(self.cls, Class):
            found = ev.classes.attr(self.cls, name)
            if found is not ABSENT:
                if isinstance(found, Func) and found.kind in PROPERTIES:
                    self.complete()
                    if name in self.attrs:
                        return self.attrs[name]
                return ev.attributes.bind(found, self, self.cls, place)
        found = self._foreign_attr(ev, name, place)
        if found is not ABSENT or name.startswith("__"):
            return found
        if isinstance(self.cls, Class):
            getter = ev.classes.attr(self.cls, "__getattr__")
            if isinstance(getter, Func):
                return ev.calls.call(Bound(getter, self), [name], {}, place)
            if has_foreign_attributes(self.cls):
                why = f"attribute {name}, perhaps of a base class of {self.class_name}"
                return Unknown.attribute(why, place)
        if isinstance(self.cls, Ext):
            return Unknown.attribute(f"attribute {name} of {self.cls.name}", place)
        return ABSENT

    def complete(self) -> None:
        """Run what was put off of its construction, because one of its attributes is needed."""

    def _foreign_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """An attribute that a base class outside of the source gives, where that is known."""
        return ABSENT

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        if isinstance(self.cls, Class):
            found = ev.classes.attr(self.cls, name)
            if isinstance(found, Func) and found.kind == "property":
                return  # a setter's effect shows in the getter, where it is known at all
        ev.writes.put(self.attrs, name, value)
