"""What an evaluation may take: steps, processor time and memory.

Everything that the evaluator does is counted in steps, *before* it is done: an expression, a
statement, a call are one, an item of a container is one, and so are 16 characters or 64 bytes of
what is made at once. The count is the same on every machine. What it misses is caught by the
processor's time and the memory of the process, which are looked at between steps.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from fibcore.model.tree import SourcePlace

if sys.platform != "win32":
    import resource

MAX_STEPS = 4_000_000
"""Ten times what any model takes that has been seen."""
MAX_SECONDS = 14.0
"""Of the processor, for one elaboration; the models that have been seen take up to three."""
MAX_GROWTH = 448 << 20
"""Bytes by which the process may grow during one elaboration."""
_CHECKED_EACH = 32
"""Steps between looks at a clock: few, because one of them may go through a million items."""
_LOOK_AFTER = 0.05
"""Seconds between looks at the processor's time and the memory, which cost a call of the system."""


class Exhausted(Exception):
    """What the evaluation may take is spent.

    Attributes:
        what: What was being done, and how much of it there is.
        place: Where in the source; None until a statement has been left.
    """

    def __init__(self, what: str, place: SourcePlace | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.place = place

    def __str__(self) -> str:
        return self.what if self.place is None else f"{self.what} ({self.place})"


class Budget:
    """Counts steps, so that source that asks for too much is left.

    Attributes:
        steps: The steps so far.
        limit: How many there may be.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.limit = MAX_STEPS
        self._allowed = MAX_STEPS  # from where the limit was set; messages say it
        self._pause = _CHECKED_EACH
        self._started = time.thread_time()
        self._looked = time.monotonic()
        self._memory = _peak_memory()

    def restart(self) -> None:
        """Count time and memory from now on; what was done in between is nobody's."""
        self._started = time.thread_time()
        self._memory = _peak_memory()

    @contextlib.contextmanager
    def at_most(self, steps: int) -> Iterator[None]:
        """Allow so many steps inside, and go on with the old limit behind."""
        outer = self.limit, self._allowed
        if self.steps + steps < self.limit:
            self.limit, self._allowed = self.steps + steps, steps
        try:
            yield
        finally:
            self.limit, self._allowed = outer

    def step(self) -> None:
        """Count one step.

        Raises:
            Exhausted: there were too many.
        """
        self.steps += 1
        if self.steps > self._pause:
            self._check("")

    def spend(self, steps: int, what: str) -> None:
        """Count the steps of something large before it is done.

        Args:
            steps: How many.
            what: What takes them, in messages.

        Raises:
            Exhausted: fewer are left.
        """
        self.steps += steps
        if self.steps > self._pause:
            self._check(what, steps)

    def left(self) -> int:
        """The steps that are left."""
        return max(self.limit - self.steps, 0)

    def _check(self, what: str, steps: int = 1) -> None:
        if self.steps > self.limit:
            self.steps -= steps  # it is not done
            taken = f" ({_count(steps)} for {what})" if what else ""
            raise Exhausted(f"more than {_count(self._allowed)} steps{taken}")
        self._pause = self.steps + _CHECKED_EACH
        now = time.monotonic()
        if now - self._looked < _LOOK_AFTER:
            return
        self._looked = now
        if time.thread_time() - self._started > MAX_SECONDS:
            during = f" ({what})" if what else ""
            raise Exhausted(f"more than {MAX_SECONDS:g} s of the processor's time{during}")
        if _peak_memory() - self._memory > MAX_GROWTH:
            during = f" ({what})" if what else ""
            raise Exhausted(f"more than {MAX_GROWTH >> 20} MiB of memory{during}")


def _peak_memory() -> int:
    """Bytes of memory that the process had at most; 0 where that cannot be asked."""
    if sys.platform == "win32":
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _count(number: int) -> str:
    """A number as a message gives it; one of thousands of digits by its size."""
    if number.bit_length() > 64:
        return f"about 2^{number.bit_length() - 1}"
    return f"{number:,}"
