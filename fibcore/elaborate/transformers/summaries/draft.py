"""The summary of a class in the making: what its constructor was seen to do so far."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.transformers.summaries.lineage import Lineage
from fibcore.elaborate.transformers.summaries.summary import Step


class Draft:
    """Collects what the constructors of a lineage do.

    Args:
        lineage: The class and its bases.

    Attributes:
        fields: The keys that constructors take, with their defaults.
        steps: What they do, in order.
        dropped: Keys of the file that they take and do not keep.
        unclear: Attributes that cannot be followed.
    """

    def __init__(self, lineage: Lineage) -> None:
        self.lineage = lineage
        self.fields: dict[str, Any] = {}
        self.steps: list[Step] = []
        self.dropped: set[str] = set()
        self.unclear: set[str] = set()
        self._conditions = 0

    def assign(self, name: str, value: ast.expr, condition: str | None) -> None:
        """Note that an attribute gets a value under a condition (None: always)."""
        target = self.lineage.kept(name)
        text = ast.unparse(ast.fix_missing_locations(value))
        # A key that is kept as it is needs no step.
        if text != target or (condition is None and target not in self.fields):
            self.steps.append(Step(target, text, condition))

    def assign_inside(self, path: str, value: ast.expr, condition: str | None) -> None:
        """Note that an attribute of a nested config, `outer.attribute`, gets a value."""
        self.steps.append(Step(path, ast.unparse(ast.fix_missing_locations(value)), condition))

    def keep_truth(self, value: ast.expr, condition: str | None) -> str:
        """Note that a condition is evaluated; the name under which its truth is kept.

        Later steps go by the name: what the condition reads may have changed by then.
        """
        text = ast.unparse(ast.fix_missing_locations(value))
        step = Step.truth(self._conditions, text, condition)
        self._conditions += 1
        self.steps.append(step)
        return step.target

    def keep_before(self, name: str, condition: str | None) -> str:
        """Note that an attribute is about to change; the name under which its value is kept."""
        step = Step.before(name, condition)
        self.steps.append(step)
        return step.target

    def base(self, condition: str | None) -> None:
        """Note that the base class of all configs does its work here."""
        self.steps.append(Step.base(condition))

    def give_up(self, name: str) -> None:
        """Note that an attribute comes about in a way that cannot be followed."""
        kept = self.lineage.kept(name)
        if kept not in self.lineage.nested:
            self.unclear.add(kept)
            return
        # A config inside of this one is made of the file's keys all the same.
        step = Step.nested(kept)
        if step not in self.steps:
            self.steps.append(step)
