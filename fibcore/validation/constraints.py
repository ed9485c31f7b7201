"""The arithmetic of constraints: whether sizes and tensors satisfy them.

The author of a constraint is unknown, so nothing of it is executed. It is parsed, and what it says
is computed here: numbers, arithmetic, comparisons, indexing and reductions, with a bound on the
size of numbers and on the work. A constraint with anything else in it is not judged.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any

from fibcore.model.definition import CONSTRAINT_BUILTINS, Definition
from fibcore.validation.constraint_values import (
    METHODS,
    OPERATORS,
    Bound,
    BoundExceededError,
    call,
    is_number,
    shape_of,
)

_NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Compare, ast.IfExp, ast.Constant, ast.Name, ast.Load),
    *(ast.Subscript, ast.Slice, ast.Attribute, ast.Call, ast.Tuple),
)
_MAX_DEPTH = 50


def names_in(constraint: str) -> set[str]:
    """The axes and inputs that a constraint speaks of."""
    found = {node.id for node in ast.walk(_parsed(constraint)) if isinstance(node, ast.Name)}
    return found - CONSTRAINT_BUILTINS


def can_be_evaluated(constraint: str) -> bool:
    """Whether a constraint holds nothing but what is evaluated here."""
    tree = _parsed(constraint)
    return all(map(_is_known, ast.walk(tree))) and _depth(tree) <= _MAX_DEPTH


def broken_constraints(definition: Definition, values: Mapping[str, Any]) -> dict[str, str]:
    """The constraints that do not hold.

    Args:
        definition: The definition.
        values: Axes, scalars and NumPy arrays by name. A constraint that speaks of something else
            (a random input) is left out, and so is one that cannot be evaluated.

    Returns:
        The constraints as the definition has them, with what came out instead of a true value; one
        that raises, or takes too much work, counts as broken.
    """
    known = {**definition.const_axes, **values}
    broken = {}
    for constraint in definition.constraints:
        if names_in(constraint) <= set(known) and can_be_evaluated(constraint):
            reason = _why_broken(constraint, known)
            if reason is not None:
                broken[constraint] = reason
    return broken


def _why_broken(constraint: str, names: Mapping[str, Any]) -> str | None:
    try:
        return None if _Evaluation(names).of(_parsed(constraint).body) else "a false value"
    except BoundExceededError as error:
        return str(error)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def _parsed(constraint: str) -> ast.Expression:
    return ast.parse(constraint.strip(), mode="eval")


def _is_known(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name):
            return function.id in CONSTRAINT_BUILTINS
        return isinstance(function, ast.Attribute)
    if isinstance(node, ast.Attribute):
        return node.attr in METHODS
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float)
    return isinstance(node, _NODES) or type(node) in OPERATORS


def _depth(tree: ast.AST) -> int:
    """How deep the expressions of a constraint are nested."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [inner for node in level for inner in ast.iter_child_nodes(node)]
    return depth


class _Evaluation:
    """One evaluation of a constraint, whose nodes are all known."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names
        self.bound = Bound()

    def of(self, node: ast.expr) -> Any:
        """The value of an expression."""
        method: Callable[[Any], Any] = getattr(self, f"_{type(node).__name__.lower()}")
        return self.bound.checked(method(node))

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        return self.bound.widened(self.names[node.id])

    def _tuple(self, node: ast.Tuple) -> Any:
        values = tuple(self.of(element) for element in node.elts)
        if not all(map(is_number, values)):  # no tuples of tuples, which may have any length
            raise TypeError("a tuple holds numbers")
        return values

    def _boolop(self, node: ast.BoolOp) -> Any:
        value = self.of(node.values[0])
        for part in node.values[1:]:
            if bool(value) != isinstance(node.op, ast.And):
                break
            value = self.of(part)
        return value

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self.of(node.body if self.of(node.test) else node.orelse)

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.of(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        self.bound.elementwise(value)
        return -value if isinstance(node.op, ast.USub) else +value

    def _binop(self, node: ast.BinOp) -> Any:
        return OPERATORS[type(node.op)](self.bound, self.of(node.left), self.of(node.right))

    def _compare(self, node: ast.Compare) -> Any:
        left = self.of(node.left)
        value: Any = None
        for operator, part in zip(node.ops, node.comparators, strict=True):
            if value is not None and not value:
                break
            right = self.of(part)
            value = OPERATORS[type(operator)](self.bound, left, right)
            left = right
        return value

    def _subscript(self, node: ast.Subscript) -> Any:
        value, index = self.of(node.value), self._index(node.slice)
        if isinstance(value, tuple | range) and isinstance(index, tuple):
            raise TypeError("a sequence has one index")
        return value[index]

    def _index(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Tuple):
            return tuple(self._index(element) for element in node.elts)
        if isinstance(node, ast.Slice):
            ends = (node.lower, node.upper, node.step)
            return slice(*(None if end is None else self.of(end) for end in ends))
        index = self.of(node)
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"an index is an integer, not {type(index).__name__}")
        return index

    def _attribute(self, node: ast.Attribute) -> Any:
        shape = shape_of(self.of(node.value))
        if node.attr not in ("shape", "size"):
            raise TypeError(f"{node.attr} is a method")
        return shape if node.attr == "shape" else math.prod(shape)

    def _call(self, node: ast.Call) -> Any:
        arguments = [self.of(argument) for argument in node.args]
        if isinstance(node.func, ast.Name):
            return call(self.bound, node.func.id, arguments)
        assert isinstance(node.func, ast.Attribute)
        return METHODS[node.func.attr](self.bound, self.of(node.func.value), *arguments)
