"""A plugin on trial: what its hooks say about trees, asked once and kept."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import attrs

from fibcore.model.definition import Definition
from fibcore.model.kernel import Extraction, Kernel
from fibcore.ops.hookspecs import TestTemplate
from fibcore.ops.registry import Registry, load_plugins
from fibcore.testing.fresh_process import Tree, in_process

NAME = "plugin-under-test"


@attrs.frozen(eq=False, slots=False)
class Subject:
    """A plugin and the trees to try it on; what its hooks say is asked once and kept.

    Attributes:
        plugin: The plugin: a module or an object.
        trees: Model trees and how they are served.
        max_cases: On how many of a definition's test cases, the smallest first, its reference
            runs.
        timeout_s: Seconds that all checks of one reference may take together.
    """

    plugin: object
    trees: tuple[Tree, ...]
    max_cases: int = 3
    timeout_s: float = 120.0

    @cached_property
    def registry(self) -> Registry:
        """A registry of this plugin alone."""
        return load_plugins(extra={NAME: self.plugin}, discover=False)

    @cached_property
    def op_types(self) -> tuple[str, ...]:
        """The op types that it is responsible for."""
        return tuple(self.registry.op_types())

    @cached_property
    def extractions(self) -> tuple[tuple[Tree, Extraction], ...]:
        """What it finds in each tree; raises what the plugin raises."""
        return tuple((tree, extract(self.registry, tree)) for tree in self.trees)

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """All kernels that it finds, one of each name."""
        found = {k.name: k for _, extraction in self.extractions for k in extraction.kernels}
        return tuple(found.values())

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """The definitions of all kernels."""
        return tuple(self.registry.reference(kernel) for kernel in self.kernels)

    @cached_property
    def processes(self) -> tuple[dict[str, Any], ...]:
        """What it does in processes of its own, each with another hash seed."""
        return tuple(
            in_process(self.plugin, self.trees, seed, self.timeout_s) for seed in ("0", "1", "2")
        )

    def template(self, op_type: str) -> TestTemplate:
        """The test template of an op type; fails where there is none."""
        template = self.registry.test_template(op_type)
        assert template is not None, f"fibcore_test_template({op_type!r}) returned None"
        return template


def extract(registry: Registry, tree: Tree) -> Extraction:
    """What the one plugin of a registry finds in a tree; raises what it raises."""
    extractions, errors = registry.extract(*tree)
    for error in errors:
        raise error
    assert extractions, "the plugin implements no fibcore_extract"
    return extractions[0][1]
