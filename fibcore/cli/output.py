"""Where the command line writes: people's lines, tables, progress, and the one JSON document."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from fibcore.cli import heartbeat, layout
from fibcore.cli.heartbeat import Heartbeat
from fibcore.cli.steps import Steps, steps
from fibcore.errors import one_line

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""Characters that steer a terminal, hide, turn the direction of writing, or cannot be written."""


_CONTINUED = re.compile(r"(?<=[^\n])\n(?=[^\s])")


def one_text(text: str) -> str:
    """What is printed as one line of ours: further ones are indented, so that none looks like it.

    Line feeds come with names of files and of modules, too.
    """
    return _CONTINUED.sub("\n  ", printable(text))


def printable(text: str) -> str:
    """The text with control characters written as escapes, so that a terminal only shows them.

    Texts come from model files, configs and names of files, which may hold anything. Line feeds
    and tabs stay.
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


class Output:
    """The standard streams as one command uses them.

    With `--json`, standard output gets exactly one JSON document and people's lines go to standard
    error. Tables are drawn on a terminal and are plain lines elsewhere; progress bars appear on a
    terminal only, always on standard error.

    Args:
        json_mode: Whether `--json` was given.
        verbosity: -1 for `-q`, 0, 1 for `-v`, 2 for `-vv`.
    """

    def __init__(self, *, json_mode: bool = False, verbosity: int = 0) -> None:
        self.json_mode = json_mode
        self.verbosity = verbosity
        self._steps: Steps | None = None
        self._beat: Heartbeat | None = None
        self._step = self._items = ""

    @property
    def stream(self) -> TextIO:
        """Where people's lines go."""
        return sys.stderr if self.json_mode else sys.stdout

    @contextmanager
    def at_work(self, seconds: float = heartbeat.SECONDS) -> Iterator[None]:
        """Say every few seconds that the work goes on, where nothing else is said; not with `-q`.

        Bars on a terminal show their own time.
        """
        if self.verbosity < 0:
            yield
            return
        self._beat = Heartbeat(self._still_at_work, seconds)
        try:
            with self._beat:
                yield
        finally:
            self._beat = None

    def _still_at_work(self, passed: float) -> None:
        if self._steps is None or not self._steps.moving:
            click.echo(f"{self._step or 'at work'}{self._items}, {passed:.0f} s", err=True)

    def _heard(self) -> None:
        if self._beat is not None:
            self._beat.heard()

    def line(self, text: str = "", *, level: int = 0) -> None:
        """Print a line; `-q` leaves it out, `level` 1 needs `-v`."""
        if self.verbosity >= level:
            self._heard()
            click.echo(one_text(text), file=self.stream)

    def result(self, text: str) -> None:
        """Print a line that is the answer itself; `-q` leaves it."""
        self._heard()
        click.echo(one_text(text), file=self.stream)

    def warn(self, text: str) -> None:
        """Print a line that has to be seen, on standard error."""
        self._heard()
        click.echo(one_text(text), err=True)

    @contextmanager
    def tracebacks(self) -> Iterator[None]:
        """With `-vv`, print what is logged meanwhile, with tracebacks, on standard error."""
        if self.verbosity < 2:
            yield
            return
        import logging  # 10 ms

        handler, logger, warn = logging.Handler(), logging.getLogger("fibcore"), self.warn
        handler.emit = lambda record: warn(handler.format(record))  # type: ignore[method-assign]
        level = logger.level
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def note(self, text: str) -> None:
        """Print a line about the work as it goes, on standard error; `-q` leaves it out."""
        if self.verbosity >= 0:
            self._heard()
            click.echo(one_text(text), err=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        title: str = "",
        indent: int = 0,
    ) -> None:
        """Print a table: drawn on a terminal, aligned plain lines elsewhere.

        On a terminal no line is longer than it is and no word is broken: sentences go on in the
        next line of their column, and where even that does not fit, the cells of a row stand below
        the first one with their titles. Elsewhere a row is one line, for other programs.
        """
        cells = [[one_line(printable(str(cell))) for cell in row] for row in rows]
        columns, title = [printable(column) for column in columns], printable(title)
        if self.verbosity < 0:
            return
        if self.stream.isatty():
            self._fitted(columns, cells, title, indent)
            return
        if title:
            self.line(title)
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for row in [list(columns), *cells]:
            text = "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))
            self.line((" " * indent + text).rstrip())

    def _fitted(
        self, columns: Sequence[str], cells: Sequence[Sequence[str]], title: str, indent: int
    ) -> None:
        width = shutil.get_terminal_size().columns
        found = layout.widths([columns, *cells], width - 3 * len(columns) - 1)
        if found is None:
            for line in [title] if title else []:
                self.line(line)
            for line in layout.stacked(columns, cells, width, indent):
                self.line(line)
            return
        # rich takes 0.1 s to import, which a pipe need not pay.
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title or None, title_justify="left")
        for column, one in zip(columns, found, strict=True):
            table.add_column(escape(column), width=one, overflow="fold")
        for row in cells:
            table.add_row(*(escape(cell) for cell in row))
        Console(file=self.stream, width=width).print(table)

    def document(self, data: Callable[[], Any]) -> None:
        """Print the JSON document that `data` gives; does nothing without `--json`.

        Turning a report into plain data takes longer than a small command.
        """
        if self.json_mode:
            text = json.dumps(data(), indent=2, ensure_ascii=False, sort_keys=False)
            # The same document: JSON may write every character of a string by its number.
            click.echo(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

    @property
    def progress(self) -> Following:
        """What functions of the API take as `progress`; it shows nothing with `-q`."""
        return Following(self)

    def show(self, step: str, done: float | None = None, total: float | None = None) -> None:
        """Show how far long work is: a bar on a terminal, a line for every new step elsewhere.

        Args:
            step: The step; equal steps are the same bar.
            done: Units done, None where the step has no known length.
            total: Units in all.
        """
        step = one_line(printable(step))
        self._step = f"{step}: {done:g} of {total:g}" if done is not None and total else step
        if total and done is not None and done >= total:
            self._step = self._items = ""  # what follows is something else
        self._seen(self._at_steps().show(step, done, total))

    def at(self, step: str, items: Sequence[str]) -> None:
        """Show which items (definitions, phases) a step is at."""
        named = one_line(printable(", ".join(items)))
        self._items = f" ({named})" if named else ""
        self._seen(self._at_steps().at(one_line(printable(step)), named))

    def ended(self, step: str, result: str, seconds: float | None = None) -> None:
        """Show what came of a step or an item, where it stays."""
        self._items = ""
        text = one_line(printable(result))
        self._seen(self._at_steps().ended(one_line(printable(step)), text, seconds))

    def _at_steps(self) -> Steps:
        if self._steps is None:
            self._steps = steps()
        return self._steps

    def _seen(self, said: bool) -> None:
        if said:
            self._heard()

    def close(self, *, broken: bool = False) -> None:
        """Leave the steps as they ended, so that lines can follow.

        Args:
            broken: Whether the work ended before its time.
        """
        if self._steps is not None:
            self._steps.close(broken=broken)
            self._steps = None
        self._step = self._items = ""


class Following:
    """Shows the progress of work as an output does (see `fibcore.progress.Follower`)."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def __call__(self, step: str, done: float | None = None, total: float | None = None) -> None:
        """Show how far a step is."""
        if self._out.verbosity >= 0:
            self._out.show(step, done, total)

    def at(self, step: str, items: tuple[str, ...]) -> None:
        """Show which items a step is at."""
        if self._out.verbosity >= 0:
            self._out.at(step, items)

    def ended(self, step: str, result: str, seconds: float | None) -> None:
        """Show what came of a step."""
        if self._out.verbosity >= 0:
            self._out.ended(step, result, seconds)
