"""The arithmetic of constraints: whether sizes and tensors satisfy them.

The author of a constraint is unknown, so nothing is executed: only arithmetic, comparisons,
indexing and reductions are evaluated, and a constraint with anything else in it is not judged.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from typing import Any

from fibcore.model.definition import CONSTRAINT_BUILTINS, Definition

_NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Div, ast.Compare),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.IfExp, ast.Constant, ast.Name),
    *(ast.Load, ast.Subscript, ast.Slice, ast.Attribute, ast.Call, ast.Tuple),
)
_ATTRIBUTES = ("all", "any", "item", "max", "min", "numel", "shape", "size", "sum")


def names_in(constraint: str) -> set[str]:
    """The axes and inputs that a constraint speaks of."""
    found = {node.id for node in ast.walk(_parsed(constraint)) if isinstance(node, ast.Name)}
    return found - CONSTRAINT_BUILTINS


def can_be_evaluated(constraint: str) -> bool:
    """Whether a constraint holds nothing but what is evaluated here."""
    for node in ast.walk(_parsed(constraint)):
        if not isinstance(node, _NODES):
            return False
        if isinstance(node, ast.Attribute) and node.attr not in _ATTRIBUTES:
            return False
        # No string that a number repeats, no number of a million digits.
        if isinstance(node, ast.Constant) and not isinstance(node.value, (int, float)):
            return False
    return True


def broken_constraints(definition: Definition, values: Mapping[str, Any]) -> list[str]:
    """The constraints that do not hold.

    Args:
        definition: The definition.
        values: Axes, scalars and NumPy arrays by name. A constraint that speaks of something else
            (a random input) is left out, and so is one that cannot be evaluated.

    Returns:
        The constraints as the definition has them; one that raises counts as broken.
    """
    known = {**definition.const_axes, **values}
    broken = []
    for constraint in definition.constraints:
        if names_in(constraint) <= set(known) and can_be_evaluated(constraint):
            try:
                held = bool(_evaluated(constraint, known))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                held = False
            if not held:
                broken.append(constraint)
    return broken


def _parsed(constraint: str) -> ast.Expression:
    return ast.parse(constraint.strip(), mode="eval")


def _evaluated(constraint: str, names: Mapping[str, Any]) -> Any:
    allowed = {name: getattr(builtins, name) for name in CONSTRAINT_BUILTINS}
    code = compile(_parsed(constraint), "<constraint>", "eval")
    # Every node was looked at: names, numbers, arithmetic and the few attributes above.
    return eval(code, {"__builtins__": allowed, **names})  # noqa: S307
