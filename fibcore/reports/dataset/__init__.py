"""One self-contained HTML page of a dataset: every definition with all that is known of it."""

from __future__ import annotations

from fibcore.reports.dataset.api import DatasetReport, report

__all__ = ["DatasetReport", "report"]
