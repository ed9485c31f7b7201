"""Expressions of a config class's constructor as expressions over attribute names."""

from __future__ import annotations

import ast
import copy
from typing import Any

from fibcore.elaborate.transformers.class_facts import GIVEN, OWN, UnclearError
from fibcore.elaborate.transformers.class_syntax import dict_items, is_docstring, self_attribute

CHANGING = (
    "append",
    "difference_update",
    "extend",
    "insert",
    "pop",
    "remove",
    "setdefault",
    "update",
)
"""Methods that change what they are called on."""

_BUILTINS = frozenset(
    (
        *("abs", "all", "any", "bool", "dict", "enumerate", "float", "getattr", "hasattr", "int"),
        *("isinstance", "len", "list", "max", "min", "range", "round", "set", "sorted", "str"),
        *("sum", "tuple", "type", "zip"),
    )
)
_KEPT = frozenset(("CONFIG_MAPPING", "AutoConfig"))


class Scope:
    """What is known of a class while its record is made.

    Attributes:
        classes: The class and those that it derives from, nearest first, each with its module.
        globals: Plain data that each class's module has under names.
        renamed: Other names of attributes.
        properties: Attributes that are computed when they are read.
        dropped: Keys of the file that are taken and not kept.
        unclear: Attributes that cannot be followed.
    """

    classes: list[tuple[ast.ClassDef, ast.Module]]
    globals: list[dict[str, Any]]
    renamed: dict[str, str]
    properties: dict[str, ast.FunctionDef]
    dropped: set[str]
    unclear: set[str]

    def property_value(self, name: str) -> ast.expr:
        """The expression that a property returns.

        Raises:
            UnclearError: it does more than that.
        """
        body = [s for s in self.properties[name].body if not is_docstring(s)]
        if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
            raise UnclearError(name)
        return copy.deepcopy(body[0].value)


class Rewriter(ast.NodeTransformer):
    """Rewrites an expression of a constructor into one over attribute names."""

    def __init__(
        self, record: Scope, level: int, local: dict[str, ast.expr], kwargs: str = ""
    ) -> None:
        self.record = record
        self.level = level
        self.local = local
        self.kwargs = kwargs
        self.bound: list[set[str]] = []

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name = node.id
        if any(name in names for names in self.bound):
            return node
        if name in self.local:
            held = copy.deepcopy(self.local[name])
            if isinstance(held, ast.Name) and held.id == "unclear":
                raise UnclearError(name)
            return held
        if name == self.kwargs and name:
            return ast.Name(GIVEN, ast.Load())
        data = self.record.globals[min(self.level, len(self.record.globals) - 1)]
        if name in data:
            return ast.parse(repr(data[name]), mode="eval").body
        if name == "Sequence":
            return ast.parse("(list, tuple)", mode="eval").body
        if name in _BUILTINS or name in _KEPT or name.endswith("Config"):
            return node
        raise UnclearError(name)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if self_attribute(node):
            name = self.record.renamed.get(node.attr, node.attr)
            if name in self.record.properties:
                inner: ast.expr = Rewriter(self.record, self.level, {}).visit(
                    self.record.property_value(name)
                )
                return inner
            if name in ("sub_configs", "__class__", "to_dict") or name in self.record.unclear:
                raise UnclearError(name)
            return ast.Name(name, ast.Load())
        if ast.unparse(node).startswith("math."):
            return node
        return ast.Attribute(self.visit(node.value), node.attr, node.ctx)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        text = ast.unparse(node.value)
        if text == "self.sub_configs" and isinstance(node.slice, ast.Constant):
            for cls, _ in self.record.classes:
                for item in cls.body:
                    if "sub_configs" in ast.unparse(item).partition("=")[0]:
                        for key, value in dict_items(item):
                            if key == node.slice.value:
                                return value
            raise UnclearError(text)
        return ast.Subscript(self.visit(node.value), self.visit(node.slice), node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        text = ast.unparse(node.func)
        if text in ("getattr", "hasattr") and ast.unparse(node.args[0]) == "self":
            asked = node.args[1]
            if not isinstance(asked, ast.Constant):
                raise UnclearError(text)
            name = self.record.renamed.get(str(asked.value), str(asked.value))
            if name in self.record.properties or name in self.record.unclear:
                raise UnclearError(name)
            if text == "hasattr":
                return ast.parse(f"{name!r} in {OWN}", mode="eval").body
            get = ast.parse(f"{OWN}.get({name!r})", mode="eval").body
            assert isinstance(get, ast.Call)
            get.args += [self.visit(a) for a in node.args[2:]]
            return get
        if isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if owner == "self":
                raise UnclearError(text)
            if self.kwargs and owner == self.kwargs:
                if node.func.attr not in ("get", "pop") or not isinstance(
                    node.args[0], ast.Constant
                ):
                    raise UnclearError(text)
                key = str(node.args[0].value)
                if node.func.attr == "pop":
                    self.record.dropped.add(key)
                return ast.Call(
                    ast.Attribute(ast.Name(GIVEN, ast.Load()), "get", ast.Load()),
                    [self.visit(a) for a in node.args],
                    [],
                )
            if node.func.attr in CHANGING:
                raise UnclearError(text)
        elif isinstance(node.func, ast.Name) and not (
            node.func.id in _BUILTINS or node.func.id.endswith("Config")
        ):
            raise UnclearError(text)
        return ast.Call(
            self.visit(node.func),
            [self.visit(a) for a in node.args],
            [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords],
        )

    def _comprehension(self, node: Any) -> Any:
        names: set[str] = set()
        for part in node.generators:
            names |= {n.id for n in ast.walk(part.target) if isinstance(n, ast.Name)}
        self.bound.append(names)
        try:
            return self.generic_visit(node)
        finally:
            self.bound.pop()

    def visit(self, node: ast.AST) -> Any:
        """The rewritten node."""
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            return self._comprehension(node)
        if isinstance(node, (ast.Lambda, ast.NamedExpr, ast.Await, ast.Yield)):
            raise UnclearError(type(node).__name__)
        return super().visit(node)
