"""Problems that validation finds, with their level and place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

from fibcore.errors import indented, one_line

Severity = Literal["error", "warning"]

CHECKS = ("layout", "definition", "workload", "solution", "trace", "baseline", "benchmark")
"""What can be checked, as flashinfer-bench's own validation divides it."""


@attrs.frozen
class ValidationProblem:
    """A rule that a file of the dataset breaks.

    Attributes:
        severity: "error" where the file breaks a rule of the format; "warning" where other tools
            can read the file all the same.
        path: The file or folder, relative to the dataset.
        place: The place in it as JSON path or line; None for the whole file.
        message: What is wrong, as a sentence.
        expected: What would have been right.
        found: What was there instead.
        check: Which of `CHECKS` found it.
    """

    severity: Severity
    path: str
    place: str | None
    message: str
    expected: str | None = None
    found: str | None = None
    check: str = "definition"

    def __str__(self) -> str:
        where = self.path if self.place is None else f"{self.path} {self.place}"
        text = f"{self.severity}: {one_line(where)}: {indented(self.message)}"
        if self.expected is not None:
            text += f"\n  expected: {indented(self.expected)}"
        if self.found is not None:
            text += f"\n  found: {indented(self.found)}"
        return text


def error(
    path: str,
    place: str | None,
    message: str,
    expected: str | None = None,
    found: str | None = None,
) -> ValidationProblem:
    """A problem that breaks a rule of the format."""
    return ValidationProblem("error", path, place, message, expected, found)


def warning(
    path: str,
    place: str | None,
    message: str,
    expected: str | None = None,
    found: str | None = None,
) -> ValidationProblem:
    """A problem that does not keep other tools from reading the file."""
    return ValidationProblem("warning", path, place, message, expected, found)


def under(check: str, problems: Iterable[ValidationProblem]) -> list[ValidationProblem]:
    """Problems as those of one of `CHECKS`."""
    return [attrs.evolve(problem, check=check) for problem in problems]
