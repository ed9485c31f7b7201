"""The result of `fibcore.add_solutions`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.generated_files import Refusal
from fibcore.errors import FibcoreError
from fibcore.model.json import to_data


@attrs.frozen
class AddSolutionsReport:
    """The result of `fibcore.add_solutions`.

    Attributes:
        dataset: The dataset's folder.
        written: Files that changed, relative to the dataset.
        unchanged: Files that were as they should be.
        refused: Files that were kept because they were edited or come from elsewhere.
        solutions: Definition to the names of its solutions, the preferred one first.
        left_out: Definition to ground truths that became no solution, each with the reason.
        without: The definitions that have no solution at all.
        problems: What went wrong; the other definitions are done.
    """

    dataset: Path
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    refused: tuple[Refusal, ...]
    solutions: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, Mapping[str, str]]
    without: tuple[str, ...]
    problems: tuple[FibcoreError, ...]

    @property
    def exit_code(self) -> int:
        """0 where every chosen definition has its solutions, else 1."""
        return 1 if self.refused or self.without or self.problems else 0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**to_data(self), "exit_code": self.exit_code}
