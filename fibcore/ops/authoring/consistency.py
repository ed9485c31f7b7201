"""What plugins need to say where the sizes of a definition contradict each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fibcore.model.definition import Definition


def in_name(definition: Definition, abbreviations: Mapping[str, str]) -> Iterator[str]:
    """Where a size in the name is not that of the axis: `kv8` with num_kv_heads 128.

    Args:
        definition: The definition.
        abbreviations: What stands before the number in the name, and the axis that it is of.
    """
    for short, axis in abbreviations.items():
        size = definition.const_axes.get(axis)
        match = re.search(rf"(?:^|_){short}_?([0-9]+)(?=_|$)", definition.name)
        if match is not None and size is not None and int(match[1]) != size:
            yield f"the name says {short}{match[1]}, and {axis} is {size}"


def not_a_multiple(definition: Definition, axis: str, of: str) -> Iterator[str]:
    """Where the size of `axis` is no multiple of the size of the axis `of`."""
    size, unit = definition.const_axes.get(axis), definition.const_axes.get(of)
    if size is not None and unit is not None and (unit == 0 or size % unit):
        yield f"{axis} is {size}, which is no multiple of {of}, {unit}"


def other_than(definition: Definition, axis: str, expected: int | None, why: str) -> Iterator[str]:
    """Where an axis has another size than it has to have; nothing where either is not known."""
    size = definition.const_axes.get(axis)
    if size is not None and expected is not None and size != expected:
        yield f"{axis} is {size}, and {why} is {expected}"
