"""Which definitions that models need a dataset has, and checks of hand-kept pages about that."""

from __future__ import annotations

from fibcore.reports.coverage.api import coverage
from fibcore.reports.coverage.data import CoverageReport, ModelCoverage, Need, Uncovered
from fibcore.reports.coverage.handkept.findings import Contradiction

__all__ = [
    "Contradiction",
    "CoverageReport",
    "ModelCoverage",
    "Need",
    "Uncovered",
    "coverage",
]
