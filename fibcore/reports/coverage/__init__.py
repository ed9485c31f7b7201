"""Which definitions that models need a dataset has, and checks of hand-kept pages about that."""

from __future__ import annotations

from fibcore.reports.coverage.report import (
    Contradiction,
    CoverageReport,
    ModelCoverage,
    Need,
    Uncovered,
)
from fibcore.reports.coverage.run import coverage

__all__ = [
    "Contradiction",
    "CoverageReport",
    "ModelCoverage",
    "Need",
    "Uncovered",
    "coverage",
]
