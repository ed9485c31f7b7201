"""Definitions that differ in a constant of their reference alone, such as an epsilon."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from fibcore.errors import FibcoreError
from fibcore.model.definition import Definition
from fibcore.model.kernel import Kernel
from fibcore.ops.registry import Registry


def with_other_constants(registry: Registry, kernel: Kernel) -> Iterator[Definition]:
    """The kernel's definition with one constant changed at a time, each under a name of its own.

    Constants are the kernel's parameters that are floats. One that the name or the tensors
    depend on gives another kernel, and is left out; so is one that cannot have another value.
    """
    first = registry.reference(kernel)
    for number, (name, value) in enumerate(kernel.parameters.items()):
        if not isinstance(value, float):
            continue
        other = 2 * value if value else 0.5
        facts = dict(kernel.facts)
        if name in facts:
            facts[name] = attrs.evolve(facts[name], value=other)
        changed = attrs.evolve(kernel, parameters={**kernel.parameters, name: other}, facts=facts)
        try:
            made = registry.reference(changed)
        except FibcoreError:
            continue  # the plugin knows that it cannot be
        same = made.name == first.name and made.structure() == first.structure()
        if same and made.reference != first.reference:
            yield attrs.evolve(made, name=f"{made.name}_other{number}")
