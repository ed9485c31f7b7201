"""How long work tells a caller how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

Progress = Callable[[str, float | None, float | None], None]
"""Called as `progress(step, done, total)`; equal steps are one bar, None stands for not known.

One that is a `Follower` as well is told what a step is at, and what came of it.
"""


@runtime_checkable
class Follower(Protocol):
    """A `progress` that shows more than how far the work is."""

    def at(self, step: str, items: tuple[str, ...]) -> None:
        """The step is at these items now (definitions, phases), several where there are workers."""

    def ended(self, step: str, result: str, seconds: float | None) -> None:
        """A step, or an item of one, has ended; `seconds` is None where its bar tells the time."""


def report(
    progress: Progress | None, step: str, done: float | None = None, total: float | None = None
) -> None:
    """Call `progress` where there is one."""
    if progress is not None:
        progress(step, done, total)


def report_at(progress: Progress | None, step: str, *items: str) -> None:
    """Say which items a step is at, where `progress` wants to know."""
    follower: object = progress
    if isinstance(follower, Follower):
        follower.at(step, items)


def report_end(
    progress: Progress | None, step: str, result: str, seconds: float | None = None
) -> None:
    """Say what came of a step or of an item, where `progress` wants to know."""
    follower: object = progress
    if isinstance(follower, Follower):
        follower.ended(step, result, seconds)
