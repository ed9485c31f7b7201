"""What is on the page of a dataset, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from fibcore.benchmarking.certificates.reading import CertificateSummary
from fibcore.benchmarking.costs.report import Measured
from fibcore.errors import FibcoreError
from fibcore.model.json import to_data


@attrs.frozen
class DatasetReport:
    """The result of `fibcore.report`.

    Attributes:
        dataset: The dataset's folder.
        output: The page.
        changed: Whether the page was written; False where it was the same already.
        counts: How many definitions, how many of them verified, benchmarked, and how many
            models, op types, workloads, solutions and evaluations.
        problems: Files of the dataset that are not usable; they are listed on the page.
        strangers: Definitions that the dataset lacks and has workloads, solutions or traces of.
        impossible: Times of benchmarks that their GPU cannot have taken.
        certificates: What the certificates of definitions say; those that lack one are not there.
    """

    dataset: Path
    output: Path
    changed: bool
    counts: dict[str, int]
    problems: tuple[FibcoreError, ...]
    strangers: tuple[str, ...]
    impossible: tuple[Measured, ...] = ()
    certificates: tuple[CertificateSummary, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where files are not usable."""
        return 1 if self.problems else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**to_data(self), "exit_code": self.exit_code}
