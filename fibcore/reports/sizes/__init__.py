"""Parallel sizes that a checkpoint can be served at, and what a rank holds of it."""

from fibcore.reports.sizes.report import Size, SizesReport
from fibcore.reports.sizes.run import sizes

__all__ = ["Size", "SizesReport", "sizes"]
