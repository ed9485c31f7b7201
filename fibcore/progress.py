"""How long work tells a caller how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float | None, float | None], None]
"""Called as `progress(step, done, total)`; equal steps are one bar, None stands for not known."""


def report(
    progress: Progress | None, step: str, done: float | None = None, total: float | None = None
) -> None:
    """Call `progress` where there is one."""
    if progress is not None:
        progress(step, done, total)
