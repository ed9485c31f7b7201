"""The number of statements that an evaluation may take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

MAX_STEPS = 4_000_000
"""More statements than any model's constructor takes."""


class Exhausted(Exception):
    """The budget is used up."""


class Budget:
    """Counts statements, so that source without an end is left.

    Attributes:
        steps: The statements so far.
        limit: How many there may be.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.limit = MAX_STEPS

    @contextlib.contextmanager
    def at_most(self, steps: int) -> Iterator[None]:
        """Allow so many statements inside, and go on with the old limit behind."""
        outer, self.limit = self.limit, self.steps + steps
        try:
            yield
        finally:
            self.limit = outer

    def step(self) -> None:
        """Count a statement.

        Raises:
            Exhausted: there were too many.
        """
        self.steps += 1
        if self.steps > self.limit:
            raise Exhausted
