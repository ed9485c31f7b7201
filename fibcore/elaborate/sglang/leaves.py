"""Which module classes are building blocks of a model.

A building block is one of SGLang's layers with no layers inside: `ColumnParallelLinear` is one, and
a decoder layer that happens to stand among the layers is none.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fibcore.elaborate.python.values import Class, Ext
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_BUILDERS = ("__init__", "_init", "_build", "_create")
"""How the names of methods begin that give a module its parts."""


class Leaves:
    """Decides which classes are building blocks.

    Attributes:
        packages: Prefixes of the modules that hold layers, below the source's package.
        weighted: Names of classes of the source that hold weights.
        weighted_external: Dotted names of classes of other packages that do.
    """

    def __init__(self) -> None:
        self.packages: list[str] = []
        self.weighted: list[str] = []
        self.weighted_external: set[str] = set()

    def is_leaf(self, ev: Evaluator, cls: Class) -> bool:
        """Whether a module class is one of the layers, with no layers inside."""
        if not self._is_layer(ev, cls):
            return False
        for base in cls.mro:
            if not isinstance(base, Class):
                continue
            for name in base.names:
                for statement in base.names[name]:
                    if isinstance(statement, ast.FunctionDef) and self._builds_layers(
                        ev, statement, base
                    ):
                        return False
        return True

    def _is_layer(self, ev: Evaluator, cls: Class) -> bool:
        return any(
            cls.module.name.startswith(f"{ev.index.package}.{prefix}") for prefix in self.packages
        )

    def _builds_layers(self, ev: Evaluator, function: ast.FunctionDef, cls: Class) -> bool:
        """Whether a method assigns layers that hold weights to attributes of self.

        Read off the syntax, because the constructor of a building block is not run.
        """
        if not function.name.startswith(_BUILDERS):
            return False
        for node in walk(function):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name):
                if not node.func.id[:1].isupper():
                    continue
                value = ev.modules.name_in(cls.module, node.func.id)
            elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                if node.func.value.id not in ("nn", "torch"):
                    continue
                value = Ext(f"torch.nn.{node.func.attr}") if node.func.value.id == "nn" else None
            else:
                continue
            if (
                isinstance(value, Class)
                and value is not cls
                and ev.classes.is_module(value)
                and self._is_layer(ev, value)
                and value.derives(*self.weighted)
            ):
                return True
            if isinstance(value, Ext) and value.name in self.weighted_external:
                return True
        return False
