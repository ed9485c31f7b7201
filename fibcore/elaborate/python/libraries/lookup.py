"""Names of other packages: what they are, what they have, and what a call of them gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fibcore.elaborate.python.libraries import table, torch_nn
from fibcore.elaborate.python.libraries.decorators import TRANSPARENT
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import ABSENT, Args, Ext, Kwargs, Mod, Native, Obj, Raised
from fibcore.elaborate.python.values.iterators import Iterator
from fibcore.model.tree import OfPackage, SourcePlace, Unknown

_OF_PYTHON = frozenset((
    "collections", "copy", "dataclasses", "functools", "itertools", "math", "operator", "re",
    "regex",
))  # fmt: skip
"""Packages whose functions refuse arguments, and leave them as they are."""
_CHANGING = frozenset((
    "bisect.insort", "bisect.insort_left", "bisect.insort_right", "heapq.heapify", "heapq.heappop",
    "heapq.heappush", "heapq.heappushpop", "heapq.heapreplace", "operator", "random.shuffle",
    "struct.pack_into",
))  # fmt: skip
"""Functions of Python's own library, and whole packages, that change what they are handed."""
_LOOKING = frozenset(("inspect.getfullargspec", "inspect.getsource", "inspect.signature"))
"""Functions that look at a function and do not call it."""


class Libraries(Part):
    """Looks names of other packages up: first among the facts, then in the table."""

    def value(self, name: str) -> Any:
        """The value of a dotted name."""
        constants = self.ev.environment.constants
        if name in constants:
            return self.constant(name)
        return table.CONSTANTS[name] if name in table.CONSTANTS else Ext(name)

    def constant(self, name: str) -> Any:
        """The value of a dotted name that the environment knows."""
        value = self.ev.environment.constants[name]
        return value.fn(self.ev, [], {}, None) if isinstance(value, Native) else value

    def attribute(self, owner: Ext, name: str) -> Any:
        """An attribute of an opaque name; ABSENT where the package is known to lack it."""
        if name == "__name__":
            return owner.short
        if self.ev.modules.inside(owner.name):  # a folder of the tree without a module
            return self.ev.modules.imported(owner.name, name)
        if name in self.ev.environment.lacking.get(owner.name, ()):
            return ABSENT
        return self.value(f"{owner.name}.{name}")

    def item(self, owner: Ext, key: Callable[[], Any], place: SourcePlace) -> Any:
        """`owner[key]`; the key is evaluated only where it is one."""
        if owner.name in table.EMPTY_TABLES:
            name = key()
            known = self.ev.environment.process_variable(self.ev, name)
            if known is ABSENT:
                raise Raised("KeyError", f"environment variable {name}", place)
            return known
        if owner.name.startswith(tuple(table.GENERICS)):
            return owner
        found = key()
        # A table of another package: what it holds has a name of its own.
        if isinstance(found, str):
            return Ext(f"{owner.name}[{found}]")
        return Unknown(f"{owner.name}[...]", place)

    def contains(self, owner: Ext, item: Any, place: SourcePlace) -> Any:
        """Whether something is in an opaque name."""
        if owner.name in table.EMPTY_TABLES:
            return self.ev.environment.process_variable(self.ev, item) is not ABSENT
        return Unknown(f"membership in {owner.name}", place)

    def module_attribute(self, mod: Mod, name: str) -> Any:
        """What every `torch.nn.Module` has under a name, or ABSENT."""
        return torch_nn.method(mod, name)

    def init_module(self, mod: Mod, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
        """Do what the `__init__` of a module's base class outside of the source does."""
        torch_nn.init(self.ev, mod, args, kwargs, place)

    def module_sizes(self, mod: Mod, args: Args, kwargs: Kwargs) -> dict[str, Any] | None:
        """What the `__init__` of such a base class keeps of its arguments; None if not known."""
        return torch_nn.init_attributes(mod, args, kwargs)

    def call(self, ext: Ext, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """Call an opaque name."""
        name = ext.name
        self.ev.forward.give_away(args, kwargs)
        if self.ev.launches.active:
            inside = self.ev.launches.inside(name, args, kwargs, place)
            if inside is not ABSENT:
                return inside
        # Facts come first: they say what a library would find on this machine.
        answer = self.ev.environment.external_call(self.ev, name, args, kwargs, place)
        if answer is not ABSENT:
            return answer
        imitation = table.CALLS.get(name)
        if imitation is not None:
            if not self.ev.mode.caught or name.partition(".")[0] not in _OF_PYTHON:
                return imitation(self.ev, args, kwargs, place)
            self.ev.refusals.note(name, args, kwargs, place)
            found = imitation(self.ev, args, kwargs, place)
            self.ev.refusals.note_unknown(args, kwargs, found, place)
            return found
        for family in table.families(name):
            made = family(self.ev, name, args, kwargs, place)
            if made is not ABSENT:
                return made
        return self._unknown(ext, args, kwargs, place)

    def _unknown(self, ext: Ext, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """A call of a name that nobody imitates; what it may be shows in how it is written."""
        if ext.short.endswith(("Error", "Exception", "Warning")):
            return Obj(ext, place)
        if self.ev.mode.forward:  # whatever it is, it computes with tensors
            return self.ev.forward.tensor_operation(ext.name, args, kwargs, place)
        package = ext.name.partition(".")[0]
        given = (*args, *kwargs.values())
        why = Unknown(f"something that was handed to {ext.name}()", place)
        careful = "." not in ext.name or package in self.ev.environment.careful_packages
        if not careful or package in _CHANGING or ext.name in _CHANGING:
            self.ev.doubts.hand_over(given, why)
        elif package in TRANSPARENT or ext.name in _LOOKING:
            self.ev.unfollowed.handed([v for v in given if isinstance(v, Iterator)], why)
        else:
            self.ev.unfollowed.handed(given, why)
        if not careful or package in _OF_PYTHON:
            self.ev.exceptions.may_raise_anything(place)
        if self.ev.environment.is_foreign_module(ext.name):
            return torch_nn.construct(self.ev, ext, args, kwargs, place)
        if ext.short[:1].isupper():
            made = Obj(ext, place)
            made.args = {**{f"arg{i}": a for i, a in enumerate(args)}, **kwargs}
            return made
        return OfPackage(f"the result of {ext.name}()", place, package=package)
