"""The steps of long work: bars on a terminal, lines elsewhere; what has ended stays to be read."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Steps(Protocol):
    """Shows steps; every function says whether anything new can be seen."""

    def show(self, step: str, done: float | None, total: float | None) -> bool:
        """A step goes on, or begins."""

    def at(self, step: str, items: str) -> bool:
        """A step is at these items."""

    def ended(self, step: str, result: str, seconds: float | None) -> bool:
        """A step, or an item of one, has ended."""

    @property
    def moving(self) -> bool:
        """Whether what is shown tells by itself that time passes."""

    def close(self, *, broken: bool = False) -> None:
        """Nothing more comes; `broken` where the work did not come to its end."""


def steps() -> Steps:
    """Bars where standard error is a terminal that can move its cursor, else lines."""
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Bars() if terminal else Lines()


NAMED = "{task.description}{task.fields[items]}"


class Bars:
    """Bars of the steps at work, on a terminal; above them one line for each that has ended."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._over: set[str] = set()

    @property
    def moving(self) -> bool:
        """Bars tell their time; between two steps there is none."""
        return bool(self._tasks)

    def show(self, step: str, done: float | None, total: float | None) -> bool:
        """Create or move the bar of a step."""
        full = bool(total) and done is not None and total is not None and done >= total
        if step in self._over and full:
            return True  # some programs say more than once that they are done
        bars = self._bars()
        if step not in self._tasks:
            # A step of unknown length is over when the next one begins.
            for earlier in [s for s, task in self._tasks.items() if self._open(task)]:
                self.ended(earlier, "", None)
            self._begun[step] = time.monotonic()
            self._tasks[step] = bars.add_task(step, total=total, items="")
        bars.update(self._tasks[step], completed=done, total=total)
        if full:
            self.ended(step, "", None)
        return True

    def at(self, step: str, items: str) -> bool:
        """Name the items beside the bar of a step."""
        if step in self._tasks:
            self._bars().update(self._tasks[step], items=f": {items}" if items else "")
        return True

    def ended(self, step: str, result: str, seconds: float | None) -> bool:
        """Write a line with the time and the result, in place of the bar of a step."""
        bars = self._bars()
        if step in self._tasks:
            bars.remove_task(self._tasks.pop(step))
            self._over.add(step)
            if seconds is None:
                seconds = time.monotonic() - self._begun[step]
        took = " " * 8 if seconds is None else f"{seconds:6.1f} s"
        text = f"{took}  {step}: {result}" if result else f"{took}  {step}"
        bars.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
        return True

    def close(self, *, broken: bool = False) -> None:
        """Write down what is open, and take the bars away so that other lines can follow."""
        for step in list(self._tasks):
            self.ended(step, "not finished" if broken else "", None)
        if self._progress is not None:
            self._progress.stop()
        self._progress = None

    def _open(self, task: TaskID) -> bool:
        bars = self._bars()
        return bars.tasks[bars.task_ids.index(task)].total is None

    def _bars(self) -> Progress:
        if self._progress is None:
            # rich takes 0.1 s to import, which a pipe need not pay.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.table import Column

            text = Column(no_wrap=True, overflow="ellipsis", ratio=1)
            self._progress = Progress(
                TextColumn(
                    "{task.description}{task.fields[items]}", markup=False, table_column=text
                ),
                BarColumn(bar_width=20),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                expand=True,
                redirect_stdout=sys.stdout.isatty(),  # else it is another program's to read
            )
            self._progress.start()
        return self._progress


class Lines:
    """Where there is no terminal: a line when a step begins, at every quarter, and at its end."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._itemised = False

    moving = False

    def show(self, step: str, done: float | None, total: float | None) -> bool:
        """Write a step when it is new, and how far it is when another quarter is done."""
        said = False
        quarters = int(4 * done / total) if done and total else 0
        if step not in self._seen:
            self._seen[step] = 0
            click.echo(step, err=True)
            said = True
        if quarters > self._seen[step]:
            self._seen[step] = quarters
            if not self._itemised:
                click.echo(f"{step}: {25 * quarters}%", err=True)
                said = True
        return said

    def at(self, step: str, items: str) -> bool:  # noqa: ARG002 - said at their ends
        """Say nothing."""
        return False

    def ended(self, step: str, result: str, seconds: float | None) -> bool:
        """Write the result of a step or an item."""
        self._itemised = self._itemised or step not in self._seen
        took = "" if seconds is None else f" ({seconds:.1f} s)"
        click.echo(f"{step}: {result}{took}", err=True)
        return True

    def close(self, *, broken: bool = False) -> None:
        """Lines stay."""
