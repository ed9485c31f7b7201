"""The result of `fibcore.validate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.model.json import to_data
from fibcore.validation.problems import ValidationProblem


@attrs.frozen
class ValidationReport:
    """The result of `validate`.

    Attributes:
        dataset: The folder.
        definitions: Number of definition files that were looked at, by op type.
        executed: Names of the definitions whose references ran.
        not_executed: Name to reason, where references were to run and this one could not.
        problems: All problems, by path.
        workloads: Number of workloads that were looked at.
        solutions: Number of solutions that were looked at.
    """

    dataset: Path
    definitions: Mapping[str, int]
    executed: tuple[str, ...]
    not_executed: Mapping[str, str]
    problems: tuple[ValidationProblem, ...]
    workloads: int = 0
    solutions: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not self.errors

    @property
    def errors(self) -> tuple[ValidationProblem, ...]:
        """The problems that break a rule."""
        return tuple(p for p in self.problems if p.severity == "error")

    @property
    def warnings(self) -> tuple[ValidationProblem, ...]:
        """The other problems."""
        return tuple(p for p in self.problems if p.severity == "warning")

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of definitions, workloads, solutions, executed references, errors, warnings."""
        return {
            "definitions": sum(self.definitions.values()),
            "workloads": self.workloads,
            "solutions": self.solutions,
            "executed": len(self.executed),
            "not_executed": len(self.not_executed),
            "errors": len(self.errors),
            "warnings": len(self.warnings),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "dataset": str(self.dataset),
            "ok": self.ok,
            "counts": self.counts,
            "definitions": dict(self.definitions),
            "executed": list(self.executed),
            "not_executed": dict(self.not_executed),
            "problems": to_data(self.problems),
        }
