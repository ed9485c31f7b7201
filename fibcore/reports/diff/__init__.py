"""Comparisons: two sources, two models, two configs, or static extraction against a trace dump."""

from __future__ import annotations

from fibcore.reports.diff.report import (
    Change,
    DiffReport,
    Match,
    ModelDiff,
    Occurrence,
    TraceDiff,
    Unmatched,
)
from fibcore.reports.diff.run import diff

__all__ = [
    "Change",
    "DiffReport",
    "Match",
    "ModelDiff",
    "Occurrence",
    "TraceDiff",
    "Unmatched",
    "diff",
]
