"""Instances of `torch.nn.Module` classes, and the layers that repeat one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Value
from fibcore.elaborate.python.values.classes import Class
from fibcore.elaborate.python.values.functions import Bound, Func, Native, Receiver
from fibcore.elaborate.python.values.merging import alike, at_index
from fibcore.elaborate.python.values.objects import Obj
from fibcore.elaborate.python.values.tracking import ACTIVE, Tracker
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace


_TENSOR_METHODS = frozenset(("view", "reshape", "unflatten", "t", "transpose", "permute", "to"))


class Mod(Obj):
    """An instance of a `torch.nn.Module` class.

    Attributes:
        entries: The entries of a `ModuleList` and the like; None for any other module.
        leaf: Whether it is a building block.
        pending: Runs the `__init__` of a leaf, which waits until somebody reads an attribute: most
            are never asked, and their constructors allocate weights in ways of their own.
        tracker: The decisions on the layer index of a layer that others may repeat.
        repeats: Those others.
        born: The tracker of the layer that it is a part of; None outside of layers.
        unbound: Why its arguments are not known, where they are not.
        late: Whether a forward pass made it, which may do so on one side of a branch.
        unregistered: Names that `object.__setattr__` gave a value, of which torch learns nothing.
    """

    __slots__ = (
        "born", "entries", "late", "leaf", "pending", "repeats", "tracker", "unbound",
        "unregistered",
    )  # fmt: skip
    changeable = False

    def __init__(self, cls: Any, place: SourcePlace | None = None) -> None:
        super().__init__(cls, place)
        self.entries: list[Any] | None = None
        self.late = False
        self.leaf = False
        self.pending: Callable[[], None] | None = None
        self.unbound: Unknown | None = None
        self.tracker: Tracker | None = None
        self.repeats: list[Repeat] = []
        self.born = ACTIVE.tracker
        self.unregistered: frozenset[str] = frozenset()

    @property
    def number(self) -> int | None:
        """The index of a layer; None for a module that is none."""
        return None if self.tracker is None else self.tracker.number

    def same_as(self, other: Any) -> bool:
        # Two leaves built alike are the same building block, whichever the model holds.
        return self.leaf and other.leaf and self.cls is other.cls and alike(self.args, other.args)

    def copied(self) -> Any:
        return self  # what it is made of is noted by object

    def truth(self, ev: Evaluator) -> bool | None:
        return super().truth(ev) if self.entries is None else bool(self.entries)

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        return ABSENT

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        if self.entries is None:
            return super().get_item(ev, key, place)
        if isinstance(key, str):
            return ev.attributes.get(self, key, place)
        return ev.operators.subscript(self.entries, key, place)

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        entries = self.entries
        if entries is None:
            super().set_item(ev, key, value, place)
        elif isinstance(key, str):
            ev.attributes.set(self, key, value, place)
        elif isinstance(key, int) and -len(entries) <= key < len(entries):
            ev.layers.pin(key)
            ev.writes.changing(entries)
            entries[key] = value

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        if self.entries is None:
            return super().contains(ev, item, place)
        return Unknown("membership in a module list", place)

    def items(self, ev: Evaluator) -> list[Any] | None:
        return None if self.entries is None else list(self.entries)

    def length(self, ev: Evaluator, place: SourcePlace) -> Any:
        return super().length(ev, place) if self.entries is None else len(self.entries)

    def combine(self, op: str, other: Any, place: SourcePlace, *, reflected: bool) -> Any:
        if self.entries is not None and isinstance(other, list) and not reflected:
            return [*self.entries, *other]
        return ABSENT

    def enter(self, ev: Evaluator, place: SourcePlace) -> Any:
        return Unknown("what a with statement enters", place)

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return True

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return ev.forward.call_module(self, "forward", args, kwargs, place)

    def call_method(
        self, ev: Evaluator, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        if ev.mode.forward and not func.name.startswith("__init"):
            return ev.forward.call_module(self, func.name, args, kwargs, place, func)
        if self.leaf:
            return ev.construction.leaf_method(self, func, args, kwargs, place)
        return super().call_method(ev, func, args, kwargs, place)

    # -- attributes ----------------------------------------------------------------------------

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if self.entries is not None and name not in self.attrs:
            found = self._list_attr(name)
            if found is not ABSENT:
                return found
        return super().find_attr(ev, name, place)

    def store(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        if isinstance(value, Mod):  # torch registers it, and asks no property of the class
            ev.writes.put(self.attrs, name, value)
        else:
            super().store(ev, name, value, place)

    def drop(self, ev: Evaluator, name: str, place: SourcePlace) -> None:
        if isinstance(self.attrs.get(name), Mod):
            ev.writes.put(self.attrs, name, ABSENT)
        else:
            super().drop(ev, name, place)

    def _list_attr(self, name: str) -> Any:
        """A method of `ModuleList`, or an entry by its number."""
        entries = self.entries
        assert entries is not None
        if name in ("append", "extend", "insert"):

            def change(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
                ev.writes.changing(entries)
                if name == "append":
                    entries.append(args[0])
                elif name == "insert" and isinstance(args[0], int):
                    entries.insert(args[0], args[1])
                else:
                    more = ev.operators.items(args[-1])
                    lost = [Unknown("unknown modules", place)]
                    entries.extend(more if more is not None else lost)
                return self

            return Native(f"ModuleList.{name}", change)
        if name.lstrip("-").isdigit():
            return entries[int(name)] if -len(entries) <= int(name) < len(entries) else ABSENT
        return ABSENT

    def complete(self) -> None:
        if self.pending is not None:
            run, self.pending = self.pending, None
            run()

    def _foreign_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if self.pending is not None:
            self.complete()
            if name in self.attrs:
                return self.attrs[name]
        found = ev.libraries.module_attribute(self, name)
        if found is ABSENT and ev.launches.active and self.is_parameter:
            data = self.args.get("data")
            if isinstance(data, Value) and not isinstance(data, Mod):
                return data.find_attr(ev, name, place)
        if found is ABSENT and ev.mode.forward and name in _TENSOR_METHODS and self.is_parameter:
            return Native(name, partial(self._computed, name))
        if found is ABSENT and self.leaf and not name.startswith("__"):
            why = f"attribute {name} of {self.class_name}, which is not descended into"
            return Unknown.attribute(why, place)
        return found

    def _computed(
        self, name: str, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """A tensor made of a parameter: a view of it may be several matrices."""
        return ev.forward.tensor_operation(f"torch.Tensor.{name}", [self, *args], kwargs, place)

    @property
    def is_parameter(self) -> bool:
        """Whether it is a parameter of a class of the source, and no module."""
        return self.leaf and isinstance(self.cls, Class) and self.cls.derives("Parameter")

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        building = not ev.mode.forward
        if self.repeats and building:
            for layer in self.repeats:
                layer.separate()  # they equal what it was until now
            self.repeats = []
        self.complete()
        if building and self.born is not None:
            ev.layers.note_change(self, name, value, place)
        if name in self.unregistered:
            self.unregistered -= {name}
        super().set_attr(ev, name, value, place)


class Repeat(Receiver):
    """One more layer like one that was elaborated already.

    Attributes:
        template: The layer that it equals but for its index.
        index: Its own index.
        build: Elaborates it for itself, where somebody needs the object.
        like: The layer whose forward pass went the same way; `template` until known.
        followed: Whether that is known.
        apart: Whether it was changed after it was built, and equals no other any more.
    """

    __slots__ = ("apart", "build", "followed", "index", "like", "made", "template")

    def __init__(self, template: Mod, index: int, build: Callable[[], Any]) -> None:
        self.template = template
        self.index = index
        self.build = build
        self.like: Any = template
        self.followed = False
        self.made: Any = None
        self.apart = False

    @property
    def dotted_name(self) -> str:
        return self.template.dotted_name

    def force(self) -> Any:
        """The layer as an object of its own."""
        if self.made is None:
            self.made = self.build()
            self.like = self.made
        return self.made

    def separate(self) -> Any:
        """The layer as an object of its own, which is about to be changed."""
        self.apart = True
        self.like = self.force()
        return self.made

    def type_of(self, place: SourcePlace) -> Any:
        return self.template.type_of(place)

    def is_python(self, name: str, kind: type) -> bool:
        return self.template.is_python(name, kind)

    def is_of(self, cls: Any) -> bool | None:
        return self.template.is_of(cls)

    def is_of_external(self, name: str) -> bool | None:
        return self.template.is_of_external(name)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """An attribute of a layer that equals another one but for its index.

        While the model is built, what the other layer holds tells all. In the forward pass the
        layer itself is needed, because calls are noted by object; its methods are bound to it as
        it is.
        """
        template = self.template
        if self.made is None:
            if not ev.mode.forward:
                found = template.find_attr(ev, name, place)
                if isinstance(found, (int, float, str, list, tuple, dict)):
                    return at_index(found, self.index, template.tracker)
                return found
            held = template.attrs.get(name, ABSENT)
            if held is None or isinstance(held, (bool, int, float, str)):
                return at_index(held, self.index, template.tracker)
            if held is ABSENT and isinstance(template.cls, Class):
                method = ev.classes.attr(template.cls, name)
                if isinstance(method, Func) and method.kind == "function":
                    return Bound(method, self)
                if method is ABSENT and template.find_attr(ev, name, place) is ABSENT:
                    return ABSENT
        made = ev.forward.object_of(self) if ev.mode.forward else self.force()
        return ev.attributes.find(made, name, place)

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        made = ev.forward.object_of(self) if ev.mode.forward else self.separate()
        ev.attributes.set(made, name, value, place)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return ev.forward.call_module(self, "forward", args, kwargs, place)

    def call_method(
        self, ev: Evaluator, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        if ev.mode.forward:
            return ev.forward.call_module(self, func.name, args, kwargs, place, func)
        return super().call_method(ev, func, args, kwargs, place)
