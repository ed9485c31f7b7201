"""One self-contained HTML page of a dataset: every definition with all that is known of it."""

from __future__ import annotations

from fibcore.reports.dataset.run import report
from fibcore.reports.dataset.summary import DatasetReport

__all__ = ["DatasetReport", "report"]
