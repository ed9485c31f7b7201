"""Shapes of tensors that methods of a tensor give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fibcore.model.tree import Unknown

Shape = tuple[Any, ...] | None
_ANY = -1


def viewed(shape: Shape, sizes: Sequence[Any]) -> Shape:
    """The shape of `tensor.view(*sizes)`, sizes one by one or in one sequence."""
    wanted = _listed(sizes)
    if wanted is None:
        return None
    open_at = [n for n, size in enumerate(wanted) if isinstance(size, int) and size == _ANY]
    if len(open_at) != 1:
        return None if open_at else tuple(wanted)
    (position,) = open_at
    rest = [*wanted[:position], *wanted[position + 1 :]]
    wanted[position] = _quotient(shape, rest)
    return tuple(wanted)


def _quotient(shape: Shape, rest: Sequence[Any]) -> Any:
    """The size that is left for one dimension, where the others have these."""
    unknown = Unknown("a size that the others leave")
    if shape is None or not _known(rest):
        return unknown
    others = [size for size in shape if isinstance(size, int)]
    (total, part) = math.prod(others), math.prod(rest)
    if len(others) == len(shape):
        return total // part if part and total % part == 0 else unknown
    open_sizes = [size for size in shape if not isinstance(size, int)]
    # One size is not known: where the rest of the sizes stays, it stays as well.
    return open_sizes[0] if len(open_sizes) == 1 and total == part else unknown


def _listed(sizes: Sequence[Any]) -> list[Any] | None:
    if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
        sizes = sizes[0]
    return None if any(not isinstance(s, (int, Unknown)) for s in sizes) else list(sizes)


def _known(sizes: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def item(shape: Shape, key: Any) -> Shape:
    """The shape of `tensor[key]`, where slices, numbers and None tell it."""
    if shape is None:
        return None
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(part is ... for part in keys):
        at = next(n for n, part in enumerate(keys) if part is ...)
        taken = sum(part is not None for part in keys) - 1
        keys[at : at + 1] = [slice(None)] * max(len(shape) - taken, 0)
    sizes, rest = [], list(shape)
    for part in keys:
        if part is None:
            sizes.append(1)
            continue
        if not rest:
            return None
        size = rest.pop(0)
        if isinstance(part, slice):
            whole = part.start is None and part.stop is None and part.step is None
            sizes.append(size if whole else _length(size, part))
        elif not isinstance(part, int) or isinstance(part, bool):
            return None
    return (*sizes, *rest)


def _length(size: Any, part: slice) -> Any:
    bounds = (part.start, part.stop, part.step)
    if isinstance(size, int) and all(b is None or isinstance(b, int) for b in bounds):
        return len(range(*part.indices(size)))
    if part.start in (None, 0) and part.step is None and isinstance(part.stop, int):
        return part.stop if part.stop > 0 else Unknown("a part of something unknown")
    return Unknown("a part of something unknown")


def counted(shape: Shape) -> Any:
    """`tensor.numel()`."""
    return math.prod(shape) if shape is not None and _known(shape) else Unknown("a count")


def unsqueezed(shape: Shape, position: Any) -> Shape:
    """The shape of `tensor.unsqueeze(position)`."""
    if shape is None or not isinstance(position, int):
        return None
    at = position + len(shape) + 1 if position < 0 else position
    return (*shape[:at], 1, *shape[at:])


def made(sizes: Sequence[Any]) -> Shape:
    """The shape of `tensor.new_empty(sizes)`."""
    wanted = _listed(sizes)
    return None if wanted is None else tuple(wanted)
