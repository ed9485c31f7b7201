"""Reading the syntax of config classes: methods, fields, defaults that are plain data.

Tables hold JSON, so data is what JSON can hold: a tuple or a set stays an expression.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from typing import Any

from fibcore.elaborate.transformers.summaries.summary import Expression
from fibcore.syntax import walk

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def self_attribute(node: ast.AST) -> bool:
    """Whether a node is an attribute of self."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )


def is_docstring(node: ast.stmt) -> bool:
    """Whether a statement is a string that stands by itself."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def method(cls: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    """The method that a class itself defines under a name."""
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    return None


def parameters(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """The parameters after self and their defaults; None stands in where there is no default."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(spec.defaults))
    found: dict[str, ast.expr] = {}
    pairs = [
        *zip(positional, [*defaults, *spec.defaults], strict=True),
        *zip(spec.kwonlyargs, spec.kw_defaults, strict=True),
    ]
    for argument, default in pairs[1:]:
        found[argument.arg] = default or ast.Constant(None)
    return found


def annotated(cls: ast.ClassDef) -> dict[str, ast.expr]:
    """The fields that a class declares by annotations, with their defaults."""
    return {
        node.target.id: node.value or ast.Constant(None)
        for node in cls.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "ClassVar" not in ast.unparse(node.annotation)
    }


def default_of(node: ast.expr, data: dict[str, Any] | None = None) -> Any:
    """A default as plain data, or as an `Expression`.

    Args:
        node: The default as the source has it.
        data: Module-level names that stand for plain data.
    """
    if isinstance(node, ast.Name) and data and node.id in data:
        return data[node.id]
    if isinstance(node, ast.Call):
        # A field with a check or a factory: `field(default=...)`, `interval(min=0)(default=...)`.
        for keyword in node.keywords:
            if keyword.arg == "default":
                return default_of(keyword.value, data)
            if keyword.arg == "default_factory":
                factory = keyword.value
                made = ast.Call(factory, [], [])
                return default_of(factory.body if isinstance(factory, ast.Lambda) else made, data)
    try:
        value = literal(node)
    except ValueError:
        return Expression(ast.unparse(node))
    return value if is_data(value) else Expression(repr(value))


def literal(node: ast.expr) -> Any:
    """The value of an expression that is data; arithmetic of numbers is done.

    (`ast.literal_eval` with `2 * 1024` besides, which the evaluator would need a module for.)

    Raises:
        ValueError: it is more than data.
    """
    if isinstance(node, ast.BinOp):
        operation = _ARITHMETIC.get(type(node.op))
        left, right = literal(node.left), literal(node.right)
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operation is None or not numbers:
            raise ValueError(ast.unparse(node))
        try:
            return operation(left, right)
        except ArithmeticError as error:
            raise ValueError(str(error)) from None
    return ast.literal_eval(node)


def is_data(value: Any) -> bool:
    """Whether a value is what JSON can hold."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_data(v) for k, v in value.items())
    if isinstance(value, list):
        return all(is_data(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str))


def global_data(tree: ast.Module) -> dict[str, Any]:
    """Module-level names that are assigned plain data."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = literal(node.value)
            except ValueError:
                continue
    return found


def string_pairs(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Names and their values, in the dict or list of pairs that a statement holds.

    A value is a string, or a list of strings where the source has a tuple.
    """
    for inner in walk(node):
        if isinstance(inner, ast.Tuple) and len(inner.elts) == 2:
            parts: tuple[Any, ...]
            try:
                parts = ast.literal_eval(inner)
            except ValueError:
                continue
            if isinstance(parts[0], str) and isinstance(parts[1], (str, tuple)):
                yield parts[0], parts[1] if isinstance(parts[1], str) else list(parts[1])
        elif isinstance(inner, ast.Dict):
            for key, value in zip(inner.keys, inner.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                    yield str(key.value), value.value


def dict_items(node: ast.AST) -> Iterator[tuple[Any, ast.expr]]:
    """The constant keys of the dicts below a node, with their values."""
    for inner in walk(node):
        if isinstance(inner, ast.Dict):
            for key, value in zip(inner.keys, inner.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield key.value, value
