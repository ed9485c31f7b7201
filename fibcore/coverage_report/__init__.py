"""Which definitions that models need a dataset has, and checks of hand-kept pages about that."""

from __future__ import annotations

from fibcore.coverage_report.api import coverage
from fibcore.coverage_report.contradictions import Contradiction
from fibcore.coverage_report.data import CoverageReport, ModelCoverage, Need, Uncovered

__all__ = [
    "Contradiction",
    "CoverageReport",
    "ModelCoverage",
    "Need",
    "Uncovered",
    "coverage",
]
