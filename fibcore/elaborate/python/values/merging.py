"""Equality of values, and one value in place of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.limits import MAX_CONTAINER, bounded
from fibcore.elaborate.python.values.base import ABSENT, Raised, Value
from fibcore.elaborate.python.values.dependence import (
    Dependent,
    bare,
    depends,
    index_fn,
    is_scalar,
    kind_of,
    snapshot,
)
from fibcore.elaborate.python.values.tracking import ACTIVE, IndexFn, Tracker, born
from fibcore.model.tree import Alternatives, Unknown, UnknownKind, origins_of, with_origins

MAX_ALTERNATIVES = 6
"""A value of more alternatives is as good as unknown, and costs much more."""
_MAX_CHANGEABLE = 64


def _same_in_every_layer(a: Any, b: Any) -> bool:
    """Note that two equal values have to be equal in a layer that repeats this one."""
    tracker = ACTIVE.tracker
    if tracker is not None and (index_fn(a) is not None or index_fn(b) is not None):
        tracker.guards.append((lambda i: at_index(a, i, tracker) == at_index(b, i, tracker), True))
    return True


def same(a: Any, b: Any) -> bool:
    """Whether one value certainly stands for another, whatever is done with it."""
    if a is b:
        return True
    if is_scalar(a) and is_scalar(b):
        if kind_of(a) is not kind_of(b) or bare(a) != bare(b):
            return False
        return _same_in_every_layer(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, Value):
        return a.same_as(b)
    if isinstance(a, Unknown):
        # One reason is as good as another, and a list of them helps nobody.
        return a.kind is b.kind
    if isinstance(a, (int, float, str, bytes)):
        return bool(a == b)
    if isinstance(a, tuple):
        bounded(a)
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=False))
    if isinstance(a, Alternatives):
        return len(a.values) == len(b.values) and all(
            any(same(x, y) for y in b.values) for x in a.values
        )
    # Equal containers are two: what is put into one is not in the other.
    return isinstance(a, frozenset) and bool(a == b)


def alike(a: Any, b: Any) -> bool:
    """Whether two values look alike now; containers that do may be two."""
    if type(a) is type(b) and isinstance(a, (tuple, list, dict)):
        bounded(a)
    if type(a) is type(b) and isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=False))
    if type(a) is type(b) and isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(v, b[k]) for k, v in a.items())
    if isinstance(a, set) and isinstance(b, set):
        return bool(a == b)
    return same(a, b)


def merge(values: Iterable[Any]) -> Any:
    """One value that stands for all of `values`: themselves if equal, else `Alternatives`."""
    flat: list[Any] = []
    for value in values:
        for part in value.values if isinstance(value, Alternatives) else (value,):
            if isinstance(part, Unknown):
                _add_unknown(part, flat)
                continue
            for have in flat:
                if have is part or same(part, have):
                    break
            else:
                flat.append(part)
    if len(flat) == 1:
        return flat[0]
    if len(flat) > MAX_ALTERNATIVES:
        many = Unknown(f"more than {MAX_ALTERNATIVES} alternatives")
        # What can be changed through it is kept, so that the change is seen.
        changeable = list(filter(_is_changeable, flat))
        if changeable and len(flat) <= _MAX_CHANGEABLE:
            rest = [ABSENT] if ABSENT in flat else []
            return Alternatives((*changeable, many, *rest))
        return Alternatives((many, ABSENT)) if ABSENT in flat else many
    return Alternatives(tuple(flat))


def _is_changeable(value: Any) -> bool:
    """Whether a value is a container, or a method of something."""
    owner = getattr(value, "owner", None) or getattr(value, "self", None)
    if isinstance(value, Value) and value.changeable:
        return True
    return isinstance(value, (list, dict, set)) or owner is not None


def _add_unknown(value: Unknown, flat: list[Any]) -> None:
    """Add something unknown; two of different kinds are one of which less is known."""
    for position, have in enumerate(flat):
        if isinstance(have, Unknown):
            kind = _known_of_both(have, value)
            flat[position] = have if have.kind is kind else attrs.evolve(have, kind=kind)
            return
    flat.append(value)


_LEAST_KNOWN = (UnknownKind.ENTRY, UnknownKind.ATTRIBUTE)


def _known_of_both(have: Unknown, value: Unknown) -> UnknownKind:
    kinds = (have.kind, value.kind)
    least = next((kind for kind in _LEAST_KNOWN if kind in kinds), None)
    if least is not None:
        return least
    if have.is_plain and value.is_plain:
        return have.kind if have.kind is value.kind else UnknownKind.PLAIN
    if have.is_plain or value.is_plain:
        return UnknownKind.VALUE
    # A limit: of a tensor and a result that forward passes lost, the first one stands.
    return have.kind


def bound(value: Any, otherwise: Any = ABSENT) -> Any:
    """A value without the chance that it is not bound, which is `otherwise` where that is given.

    Python raises where a name is not bound; a source that goes on from there has it bound.
    """
    if isinstance(value, Alternatives) and ABSENT in value.values:
        return merge(
            otherwise if v is ABSENT else v
            for v in value.values
            if v is not ABSENT or otherwise is not ABSENT
        )
    return value


def mapped(value: Any, each: Callable[[Any], Any]) -> Any:
    """Apply an operation to every alternative; alternatives on which it raises fall away.

    The source as it is published runs, so a value on which it would raise is none that it has.
    Where it raises on all of them, the exception is the source's own.
    """
    if not isinstance(value, Alternatives):
        return each(value)
    results = []
    failure: Raised | None = None
    for part in value.values:
        if part is ABSENT:
            continue
        try:
            results.append(each(part))
        except Raised as error:
            failure = failure or error
    if not results:
        if failure is None:
            return Unknown("none of the alternatives is a value")
        raise failure
    return merge(results)


def is_unknown(value: Any) -> bool:
    """Whether a value is not exactly known."""
    return isinstance(value, (Unknown, Alternatives))


def deep_unknown(value: Any, depth: int = 3) -> Unknown | None:
    """The first Unknown inside plain containers, or None.

    Of one in a container it is not said that it is plain: what the container gives need not be.
    """
    if isinstance(value, Unknown):
        return value
    if isinstance(value, Alternatives):
        return Unknown("one of several values")
    if depth and isinstance(value, (list, tuple, set, frozenset, dict)):
        found = _unknown_part(value, depth, [0])
        return None if found is None else found.as_anything()
    return None


def _unknown_part(value: Any, depth: int, seen: list[int]) -> Unknown | None:
    seen[0] += len(value)
    if seen[0] > MAX_CONTAINER:
        raise Exhausted(f"nested containers of more than {MAX_CONTAINER:,} parts")
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, Unknown):
            return item
        if isinstance(item, Alternatives):
            return Unknown("one of several values")
        if depth > 1 and isinstance(item, (list, tuple, set, frozenset, dict)):
            found = _unknown_part(item, depth - 1, seen)
            if found is not None:
                return found
    return None


_PLAIN = (int, float, complex, str, bytes, type(None))


def _is_plain_side(value: Any) -> bool:
    """Whether an operand is a value of Python's own types that no object can be in."""
    if isinstance(value, Unknown):
        return value.is_plain
    if isinstance(value, tuple):
        return all(map(_is_plain_side, value))
    return isinstance(value, _PLAIN) and not isinstance(value, Value)


def made_of(left: Any, right: Any) -> Unknown:
    """What an operator gives of two operands, one of which at least is unknown.

    Of numbers, texts and tuples it gives the same; of one and a tensor, a tensor.
    """
    unknown: list[Unknown] = [side for side in (left, right) if isinstance(side, Unknown)]
    if _is_plain_side(left) and _is_plain_side(right):
        return unknown[0].as_plain()
    # The other side has the word where one side is a plain value.
    return next((side for side in unknown if not side.is_plain), unknown[0].as_anything())


def applied(fn: Callable[..., Any], args: list[Any], tracker: Tracker | None) -> IndexFn:
    """`fn` of the arguments as they are in the layer with an index, as a function of the index."""
    moving = [n for n, arg in enumerate(args) if depends(arg)]
    args = [snapshot(arg) for arg in args]  # whatever becomes of a list that is read now
    if all(isinstance(args[n], (int, float, str)) for n in moving):
        # The usual case, evaluated for every name in a long list of layers and for every layer.
        fns = [(n, index_fn(args[n])) for n in moving]

        def of_scalars(index: int) -> Any:
            given = list(args)
            for n, each in fns:
                given[n] = each(index)  # type: ignore[misc]
            return fn(*given)

        return of_scalars
    return lambda index: fn(*(at_index(arg, index, tracker) for arg in args))


def at_index(value: Any, index: int, tracker: Tracker | None = None) -> Any:
    """A value as it is in the layer with this index.

    Args:
        value: A scalar or a plain container of scalars.
        index: The layer's index.
        tracker: The tracker of the layer that the value belongs to; the active one by default.
    """
    if isinstance(value, (int, float, str)):
        if isinstance(value, Dependent) and value.tracker is (tracker or ACTIVE.tracker):
            # What is computed for another layer is no decision of the one that is being built.
            saved, ACTIVE.tracker = ACTIVE.tracker, None
            try:
                return with_origins(value.fn(index), origins_of(value))
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                return Unknown(f"a value that layer {index} has not: {type(error).__name__}")
            finally:
                ACTIVE.tracker = saved
        return value
    if isinstance(value, (list, tuple, dict)):
        bounded(value)
        return _parts_at_index(value, index, tracker)
    if isinstance(value, Alternatives):
        return merge(at_index(v, index, tracker) for v in value.values)
    if isinstance(value, Value):
        return value.at_index(index, tracker)
    return value


def _parts_at_index(value: Any, index: int, tracker: Tracker | None) -> Any:
    """A container, which is no larger than it may be, as it is in the layer with this index."""
    if isinstance(value, dict):
        return {k: _part_at_index(v, index, tracker) for k, v in value.items()}
    return type(value)(_part_at_index(v, index, tracker) for v in value)


def _part_at_index(value: Any, index: int, tracker: Tracker | None) -> Any:
    if isinstance(value, (list, tuple, dict)):
        return _parts_at_index(value, index, tracker)
    return at_index(value, index, tracker)


def copied(value: Any) -> Any:
    """A copy of containers, config objects and instances; modules and classes stay themselves."""
    if isinstance(value, list):
        return born([copied(v) for v in value])
    if isinstance(value, tuple):
        return tuple(copied(v) for v in value)
    if isinstance(value, dict):
        return born({k: copied(v) for k, v in value.items()})
    return value.copied() if isinstance(value, Value) else value


def hashable(value: Any) -> bool:
    """Whether a value can be the key of a dict; a tuple can only where all in it can."""
    if isinstance(value, (tuple, frozenset)):
        bounded(value)
    try:
        hash(value)
    except TypeError:
        return False
    return True
