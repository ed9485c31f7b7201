"""A config class and those that it derives from: what their bodies say, besides methods."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Sequence
from typing import Any

from fibcore.elaborate.transformers.summaries.summary import KEEPS_ROPE, NotExpressibleError
from fibcore.elaborate.transformers.summaries.syntax import (
    dict_items,
    global_data,
    is_data,
    is_docstring,
    literal,
    method,
    parameters,
)

# Parallel plans, file names and the like: long, and no part of what a model reads.
_LEFT_OUT = re.compile(r"^(base_model_\w+_plan|keys_to_ignore_at_inference|_auto_class|__\w+__)$")


class Lineage:
    """What the bodies of a class and of its bases say; a derived class has the last word.

    Args:
        classes: The class and those that it derives from, nearest first, each with its module.

    Attributes:
        globals: Module-level plain data, for each class.
        constants: Class attributes that are plain data.
        renamed: Other names of attributes (`attribute_map`).
        nested: Attributes that are configs, and their classes (`sub_configs`).
        annotated: Fields that are declared by annotations, with their defaults.
        properties: Attributes that are computed when they are read.
        model_type: The class's `model_type`; "" where it has none.
        modern: Whether fields are declared by annotations, and `__post_init__` derives the others
            (transformers 5); else `__init__` has the keys as parameters.
    """

    def __init__(self, classes: Sequence[tuple[ast.ClassDef, ast.Module]]) -> None:
        self.classes = classes
        self.globals = [global_data(tree) for _, tree in classes]
        self.constants: dict[str, Any] = {}
        self.renamed: dict[str, str] = {}
        self.nested: dict[str, str] = {}
        self.annotated: dict[str, ast.expr] = {}
        self.properties: dict[str, ast.FunctionDef] = {}
        for (cls, _), data in zip(reversed(classes), reversed(self.globals), strict=True):
            for node in cls.body:
                self._read(node, data)
        self.model_type = str(self.constants.pop("model_type", ""))
        self.modern = not any(
            parameters(init) for cls, _ in classes if (init := method(cls, "__init__")) is not None
        )

    @property
    def constructor(self) -> str:
        """The name of the method that sets attributes."""
        return "__post_init__" if self.modern else "__init__"

    def kept(self, name: str) -> str:
        """The name under which an attribute is kept."""
        return self.renamed.get(name, name)

    def property_value(self, name: str) -> ast.expr:
        """The expression that a property returns.

        Raises:
            NotExpressibleError: it does more than that.
        """
        body = [s for s in self.properties[name].body if not is_docstring(s)]
        if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
            raise NotExpressibleError(name)
        return copy.deepcopy(body[0].value)

    def nested_class(self, key: Any) -> ast.expr:
        """The class that `sub_configs[key]` is.

        Raises:
            NotExpressibleError: the key is none of theirs.
        """
        for cls, _ in self.classes:
            for item in cls.body:
                if "sub_configs" in ast.unparse(item).partition("=")[0]:
                    for known, value in dict_items(item):
                        if known == key:
                            return value
        raise NotExpressibleError("self.sub_configs")

    def _read(self, node: ast.stmt, data: dict[str, Any]) -> None:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self._constant(node.targets[0].id, node.value, data)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self._annotation(node, node.target.id, data)
        elif isinstance(node, ast.FunctionDef):
            self._method(node)

    def _annotation(self, node: ast.AnnAssign, name: str, data: dict[str, Any]) -> None:
        if "ClassVar" in ast.unparse(node.annotation) or name == "model_type":
            if node.value is not None:
                self._constant(name, node.value, data)
            return
        self.annotated[name] = node.value or ast.Constant(None)
        self.constants.pop(name, None)
        self.properties.pop(name, None)

    def _method(self, node: ast.FunctionDef) -> None:
        body = [s for s in node.body if not is_docstring(s)]
        if node.name == "convert_rope_params_to_dict" and len(body) == 1:
            # It overrides the base class's gathering of RoPE settings by a plain `return kwargs`.
            self.constants[KEEPS_ROPE] = isinstance(body[0], ast.Return)
        kinds = [ast.unparse(d).rpartition(".")[2] for d in node.decorator_list]
        if any(k in ("property", "cached_property") for k in kinds):
            self.properties[node.name] = node
            self.annotated.pop(node.name, None)

    def _constant(self, name: str, value: ast.expr, data: dict[str, Any]) -> None:
        if name == "sub_configs":
            found = {key: ast.unparse(node).rpartition(".")[2] for key, node in dict_items(value)}
            # Which class AutoConfig takes is the file's to say.
            self.nested = {k: v for k, v in found.items() if v != "AutoConfig"}
        if _LEFT_OUT.match(name) or name == "sub_configs":
            return
        try:
            held = literal(value)
        except ValueError:
            if not (isinstance(value, ast.Name) and value.id in data):
                return
            held = data[value.id]
        if name == "attribute_map":
            self.renamed = {**self.renamed, **held} if isinstance(held, dict) else self.renamed
        elif is_data(held):
            self.constants[name] = held
            self.annotated.pop(name, None)
            self.properties.pop(name, None)
