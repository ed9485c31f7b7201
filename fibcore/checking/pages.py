"""A hand-kept page in Markdown as a table: what `fibcore.coverage` says of its sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibcore.checking.report import CheckReport, Verdict
from fibcore.reports.coverage import coverage

SUFFIXES = (".md", ".markdown")


def check_page(path: Path, names: tuple[str, ...], **asked: Any) -> CheckReport:
    """Hold a page against the source and the dataset.

    Args:
        path: The page.
        names: The models to look at; by default those that it names.
        **asked: The keywords of `fibcore.coverage`.

    Raises:
        FibcoreError: as `fibcore.coverage`.
    """
    found = coverage(names, check=path, dry_run=True, **asked)
    wrong = [
        Verdict(
            row=f"line {one.line}: {one.says}",
            state="wrong",
            model=one.model,
            why=f"{one.kind}: {one.derived}",
            source=one.source,
        )
        for one in found.contradictions
    ]
    unknown = [
        Verdict(row=f"line {one.line}: {one.says}", state="unknown", model="", why=one.reason)
        for one in found.unchecked
    ]
    return CheckReport(
        table=str(path),
        source=found.source,
        verdicts=(*wrong, *unknown),
        refused=found.refused,
        failures=tuple(str(problem) for problem in found.problems),
        right=max(0, found.checked - len(wrong)),
    )
