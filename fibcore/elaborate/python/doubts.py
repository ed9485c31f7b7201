"""What becomes of containers and objects where a place that is not known is written.

A store under an unknown key may be one under any key: each entry is what it was or what was stored,
and there may be more of them. The container stays itself, so that other names of it see the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    OTHER_KEYS,
    Args,
    Bound,
    Class,
    Mod,
    Namespace,
    Native,
    Obj,
    Partial,
    hashable,
    is_open,
    merge,
    one_of,
)
from fibcore.elaborate.python.values.open_ended import may_be_absent
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

Whole = list[Any] | set[Any] | dict[Any, Any]


class Doubts(Part):
    """Writes at places that are not known."""

    def entry(self, why: Unknown) -> Unknown:
        """What stands for any number of entries."""
        return Unknown(why.reason, why.place, UnknownKind.ENTRY)

    def lose(self, value: Any, why: Unknown) -> None:
        """Forget what a container or an object holds: anything may have been done to it."""
        if isinstance(value, Alternatives):
            for part in value.values:
                self.lose(part, why)
        elif isinstance(value, list):
            self.ev.writes.refill(value, [self.entry(why)])
        elif isinstance(value, set):
            self.ev.writes.refill(value, {self.entry(why)})
        elif isinstance(value, dict):
            changed = merge([Unknown(why.reason, why.place), ABSENT])
            for key in list(value):
                self.ev.writes.put(value, key, changed)
            self.ev.writes.put(value, OTHER_KEYS, why)
        elif type(value) is Obj:
            for name in list(value.attrs):
                self.ev.writes.put(value.attrs, name, Unknown(why.reason, why.place))
            self.ev.writes.put(value.attrs, OTHER_KEYS, why)

    def hand_over(self, values: Any, why: Unknown, depth: int = 4) -> None:
        """Forget what is handed to a function that nothing is known of, and what is in it."""
        if isinstance(values, Alternatives):
            values = values.values
        if isinstance(values, dict):
            inner: Any = list(values.values())
        elif isinstance(values, (list, tuple, set, frozenset)):
            inner = list(values)
        elif isinstance(values, Bound):
            inner = [values.self]  # it may be called
        elif isinstance(values, Partial):
            inner = [*values.args, *values.kwargs.values()]
        elif isinstance(values, Native):
            inner = [values.owner]
        else:
            inner = list(values.attrs.values()) if type(values) is Obj else []
        self.ev.unfollowed.handed([values], why)
        if depth:
            for value in inner:
                self.hand_over(value, why, depth - 1)
        if isinstance(values, (list, set, dict)) or type(values) is Obj:
            self.lose(values, why)
        if type(values) is Obj:
            self.ev.unfollowed.methods(values, why)

    # -- dicts ---------------------------------------------------------------------------------

    def store(self, owner: dict[Any, Any], value: Any, why: Unknown) -> None:
        """`owner[unknown] = value`."""
        for key, old in list(owner.items()):
            if key is not OTHER_KEYS:
                self.ev.writes.put(owner, key, merge([old, value]))
        others = merge([owner[OTHER_KEYS], value]) if OTHER_KEYS in owner else value
        # Of modules it is known which may be there: a table of those that were made already.
        self.ev.writes.put(owner, OTHER_KEYS, others if _are_modules([others]) else why)

    def order(self, owner: dict[Any, Any], key: Any, place: SourcePlace) -> None:
        """Note what the order of a dict is where a key is set that may not have been there."""
        if type(owner.get(key) if hashable(key) else None) is not Alternatives:
            return
        if may_be_absent(owner[key]) and next(reversed(owner)) is not key and len(owner) > 1:
            self.ev.writes.put(owner, OTHER_KEYS, Unknown("a key that may have been set", place))

    def one_of_entries(self, owner: dict[Any, Any], why: Unknown) -> Any:
        """`owner[unknown]`."""
        held = list(owner.values())
        known = merge(held) if held and _are_modules(held) else why
        return one_of(held, why) if isinstance(known, Unknown) else known

    def get(self, owner: dict[Any, Any], default: Any, place: SourcePlace) -> Any:
        """`owner.get(unknown, default)`."""
        self.ev.exceptions.may_raise(place, "TypeError")
        if not owner:
            return default
        if _are_modules(owner.values()):
            return merge([*owner.values(), default])
        return one_of([*owner.values(), default], Unknown("a look-up of something unknown", place))

    def drop(self, owner: dict[Any, Any], why: Unknown) -> None:
        """`del owner[unknown]`."""
        for key, old in list(owner.items()):
            if key is not OTHER_KEYS:
                self.ev.writes.put(owner, key, merge([old, ABSENT]))

    def dict_method(self, owner: dict[Any, Any], name: str, args: Args, place: SourcePlace) -> Any:
        """A method of a dict that changes it under a key that is not known."""
        why = Unknown("a dict changed under an unknown key", place)
        default = args[1:2]
        if name == "setdefault":
            value = default[0] if default else None
            found = one_of([*owner.values(), value], why)
            self.ev.writes.put(owner, OTHER_KEYS, why)
            return found
        found = one_of([*owner.values(), *default], why)
        if name == "pop":
            if not default:
                self.ev.exceptions.may_raise(place, "KeyError")
            self.drop(owner, why)
        else:
            self.lose(owner, why)
        return found

    # -- lists and sets ------------------------------------------------------------------------

    def store_in_list(self, owner: list[Any], key: Any, value: Any, why: Unknown) -> None:
        """`owner[unknown] = value`; of a slice, the length may be another one."""
        may_be_slice = isinstance(key, slice) or not isinstance(value, (int, float, bool))
        if may_be_slice and not (value is None or type(value) is Obj):
            self.lose(owner, why)
        else:
            self.ev.writes.refill(owner, [merge([old, value]) for old in owner])

    def drop_from_list(self, owner: list[Any], why: Unknown) -> None:
        """Take one entry away, it is not known which."""
        if is_open(owner):
            self.lose(owner, why)
        else:
            pairs = itertools.pairwise(owner)
            self.ev.writes.refill(owner, [merge(pair) for pair in pairs])

    def list_method(self, owner: list[Any], name: str, args: Args, place: SourcePlace) -> Any:
        """A method of a list that changes a place that is not known."""
        why = Unknown("a list changed at an unknown place", place)
        if is_open(owner) or name not in ("insert", "pop", "remove"):
            found = one_of(owner, why)
            self.lose(owner, why)
            return None if name in ("insert", "remove", "reverse", "sort") else found
        if name == "insert":
            before, behind = [*owner, args[-1]], [args[-1], *owner]
            entries = [merge([*pair, args[-1]]) for pair in zip(before, behind, strict=True)]
            self.ev.writes.refill(owner, entries)
            return None
        found = one_of(owner, why)
        self.drop_from_list(owner, why)
        return found if name == "pop" else None

    def set_method(self, owner: set[Any], name: str, args: Args, place: SourcePlace) -> Any:
        """A method of a set that adds or takes something that is not known."""
        why = Unknown("a set changed by something unknown", place)
        if name in ("add", "update"):
            self.ev.writes.changing(owner)
            owner.add(self.entry(why))
        else:
            self.lose(owner, why)
        return why if name == "pop" else None

    # -- objects -------------------------------------------------------------------------------

    def set_attribute(self, owner: Any, value: Any, why: Unknown) -> None:
        """`setattr(owner, unknown, value)`."""
        if isinstance(owner, Alternatives):
            for part in owner.values:
                self.set_attribute(part, merge([value, why]), why)
        elif isinstance(owner, Namespace):
            self.store(owner.values, value, why)
        elif isinstance(getattr(owner, "attrs", None), dict):
            self.ev.classes.opened = self.ev.classes.opened or isinstance(owner, Class)
            self.store(owner.attrs, value, why)

    def drop_attribute(self, owner: Any, why: Unknown) -> None:
        """`delattr(owner, unknown)`."""
        if isinstance(getattr(owner, "attrs", None), dict):
            self.drop(owner.attrs, why)


def _are_modules(values: Iterable[Any]) -> bool:
    """Whether values are modules, or several ones each."""
    return all(
        isinstance(part, Mod)
        for value in values
        for part in (value.values if isinstance(value, Alternatives) else (value,))
    )
