"""Chooses the tolerance that tells right implementations from wrong ones, or says that none does.

flashinfer-bench passes an output where a part `required_matched_ratio` of its elements is within
`atol` or within `rtol`. What is not within both is missed. For each pair of a grid of powers of
two it is known which part each implementation misses; a tolerance separates where right ones miss
no more than is allowed, even at half of it, and each wrong one misses more than twice as much.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence

import attrs

from fibcore.benchmarking.certificates.worker import ATOLS, RTOLS, Table

ALLOWED = (0.0, *(2.0**-e for e in range(12, 1, -1)))
"""Parts of the elements that may be missed; the smaller, the smaller a mistake is seen."""

CLEAR = 2.0**-12
"""The part of the elements that a wrong implementation better misses: fewer may be chance."""

ENOUGH = 2
"""Doublings of room on either side beyond which fewer missed elements count for more."""


@attrs.frozen
class Tolerance:
    """What a benchmark is to accept.

    Attributes:
        rtol: Relative error of an element that is within.
        atol: Absolute error of an element that is within; one of the two is enough.
        required_matched_ratio: Part of the elements that has to be within.
        room: Factor by which both can shrink until a right implementation is rejected.
        distance: Factor by which both can grow until a wrong one is accepted.
    """

    rtol: float
    atol: float
    required_matched_ratio: float
    room: float
    distance: float

    def missed(self, table: Table) -> float:
        """The part of the elements that an implementation with this table misses."""
        return table[RTOLS.index(self.rtol)][ATOLS.index(self.atol)]

    def accepts(self, table: Table | None) -> bool:
        """Whether it accepts an implementation; one without a table raised."""
        return table is not None and self.missed(table) <= 1.0 - self.required_matched_ratio


def choose(
    right: Sequence[Table], wrong: Sequence[Table], hopefully: Sequence[Table] = ()
) -> Tolerance | None:
    """The tolerance that separates best; None where none does, or one side is empty.

    Args:
        right: What has to be accepted.
        wrong: What has to be rejected.
        hopefully: What should be rejected: of tolerances with about as much room the one is chosen
            that rejects most of it.
    """
    if not right or not wrong:
        return None
    most, least = largest(right), _smallest(wrong)
    best: tuple[tuple[float, ...], Tolerance] | None = None
    for allowed in ALLOWED:
        for r, rtol in enumerate(RTOLS):
            for a, atol in enumerate(ATOLS):
                if least[r][a] <= 2 * allowed or most[r][a] > allowed:
                    continue
                room = _steps(most, r, a, -1, functools.partial(operator.ge, allowed))
                if room < 1:
                    continue
                distance = _steps(least, r, a, 1, functools.partial(operator.lt, 2 * allowed))
                both = min(room, distance)
                rejected = sum(table[r][a] > allowed for table in hopefully)
                clear = least[r][a] >= CLEAR
                key = (min(both, ENOUGH), rejected, clear, -allowed, both, -r - a)
                if best is None or key > best[0]:
                    found = Tolerance(rtol, atol, 1.0 - allowed, 2.0**room, 2.0**distance)
                    best = key, found
    return None if best is None else best[1]


def nearest(right: Sequence[Table], wrong: Sequence[Table]) -> tuple[int, int]:
    """Where on the grid right and wrong are least mixed: indices into RTOLS and ATOLS."""
    most, least = largest(right), _smallest(wrong)
    places = [(r, a) for r in range(len(RTOLS)) for a in range(len(ATOLS))]
    return max(places, key=lambda at: least[at[0]][at[1]] - most[at[0]][at[1]])


def _steps(table: Table, r: int, a: int, direction: int, holds: Callable[[float], bool]) -> int:
    """How often both tolerances can be halved or doubled while a condition holds."""
    count = 0
    while True:
        i, j = r + (count + 1) * direction, a + (count + 1) * direction
        if not (0 <= i < len(RTOLS) and 0 <= j < len(ATOLS)) or not holds(table[i][j]):
            return count
        count += 1


def largest(tables: Sequence[Table]) -> Table:
    """The largest of several tables, cell by cell."""
    return [[max(cells) for cells in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]


def _smallest(tables: Sequence[Table]) -> Table:
    return [[min(cells) for cells in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]
