"""The base of the evaluator's parts."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values import Env

Handlers = Mapping[type[ast.AST], Callable[[Any, "Env"], Any]]
"""What evaluates each kind of syntax: a function of the node and the scope."""


class Part:
    """One job of the evaluator; it reaches the others by way of the whole.

    Args:
        evaluator: The whole.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.ev = evaluator

    def handlers(self) -> Handlers:
        """The syntax that this part evaluates."""
        return {}
