"""What a layer calls that was followed as one like it, once it is an object of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from fibcore.elaborate.python.values import Mod, Param, Tracker, at_index
from fibcore.model.tree import Call, Operation

Calls = dict[int, list[Call]]
Operations = dict[int, list[Operation]]


def inherit(calls: Calls, operations: Operations, like: Mod, made: Mod, index: int) -> list[Mod]:
    """Note for a layer, and what is in it, what was noted for the one like it.

    Args:
        calls: How modules are called, by the id of the object; added to.
        operations: Operations on parameters, by the id of the module that runs them; added to.
        like: The layer that was followed.
        made: The layer that equals it but for its index.
        index: Its index.

    Returns:
        The modules that something was noted for.
    """
    pairs = list(_pairs(like, made, set()))
    own = {id(theirs): mine for theirs, mine in pairs}
    changed = []
    for theirs, mine in pairs:
        if not isinstance(theirs, Mod):
            continue
        for notes in (calls, operations):
            found = notes.get(id(theirs))
            if found:
                known = {_mark(note) for note in notes.get(id(mine), ())}
                notes.setdefault(id(mine), []).extend(
                    _moved(note, own, index, like.tracker)
                    for note in found
                    if _mark(note) not in known
                )
                changed.append(mine)
    return changed


def _mark(note: Call | Operation) -> Any:
    """What tells a call from another one of the same module."""
    name = note.method if isinstance(note, Call) else note.function
    return (name, note.place, len(note.args), tuple(note.kwargs), note.stage)


def _pairs(theirs: Any, mine: Any, met: set[int]) -> Iterator[tuple[Any, Any]]:
    """Modules and parameters at the same places of two layers."""
    if type(theirs) is not type(mine) or theirs is mine or id(theirs) in met:
        return
    if isinstance(theirs, (list, tuple)):
        for one, other in zip(theirs, mine, strict=False):
            yield from _pairs(one, other, met)
    if not isinstance(theirs, (Mod, Param)):
        return
    met.add(id(theirs))
    yield theirs, mine
    if isinstance(theirs, Mod):
        yield from _pairs(theirs.entries, mine.entries, met)
        if theirs.attrs and theirs.leaf:
            mine.complete()  # somebody has asked for an attribute of theirs, so it has some
        for name, value in theirs.attrs.items():
            yield from _pairs(value, mine.attrs.get(name), met)


def _moved(note: Any, own: dict[int, Any], index: int, tracker: Tracker | None) -> Any:
    """A call or an operation as the other layer makes it."""

    def moved(value: Any) -> Any:
        if id(value) in own:
            return own[id(value)]
        if isinstance(value, (list, tuple)):
            return type(value)(moved(v) for v in value)
        there = at_index(value, index, tracker)
        if isinstance(value, Param) and id(value.base) in own:
            return Param(there.shape, there.dtype, own[id(value.base)])
        return there

    return attrs.evolve(
        note,
        args=tuple(moved(a) for a in note.args),
        kwargs={k: moved(v) for k, v in note.kwargs.items()},
    )
