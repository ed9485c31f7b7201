"""The files of a survey: survey.json, survey.md and survey.html; equal surveys give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fibcore.dataset.files import write_elsewhere
from fibcore.reports.launches import GPU, SHARE_COLUMNS, share_cells, share_note
from fibcore.reports.survey.labels import config_label, layers_label, op_reasons
from fibcore.reports.survey.page import page
from fibcore.reports.survey.report import STATES, SurveyReport

FILES = ("survey.json", "survey.md", "survey.html")
"""What `write` writes."""


def write(report: SurveyReport, folder: Path) -> None:
    """Write the files of a survey, each whole or not at all.

    Raises:
        DatasetError: no space or no permission.
    """
    data = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, sort_keys=False)
    texts = (f"{data}\n", markdown(report), page(report))
    for name, text in zip(FILES, texts, strict=True):
        write_elsewhere(folder / name, text)


def markdown(report: SurveyReport) -> str:
    """The survey as Markdown."""
    return "\n".join(_markdown(report)).rstrip() + "\n"


def _markdown(report: SurveyReport) -> Iterator[str]:
    counts, shares = report.counts, report.percentages
    yield f"# Survey of {report.source}"
    yield ""
    yield (
        f"{counts['architectures']} architectures, {len(report.rows)} rows, "
        f"{len(report.definitions)} definitions, {len(report.not_covered)} ops without one. "
        "An architecture is as good as its worst row; shares are of those with a config."
    )
    yield ""
    yield from _table(
        ("state", "architectures", "share"),
        [(s, counts[s], f"{shares[s]} %" if s in shares else "") for s in STATES],
    )
    yield "## What to write next"
    yield ""
    yield "Ops that no definition describes, those of most models first. N stands for sizes."
    yield ""
    reasons = op_reasons(report)
    yield from _table(
        ("op", "models", "layers", "why"),
        [(f"`{o.name}`", len(o.models), o.layers, reasons[o.name]) for o in report.not_covered],
    )
    yield "## Models"
    yield ""
    columns = report.op_types
    yield from _table(
        ("architecture", "model", "config", "state", "TP/EP", "layers", *columns, "not covered"),
        [
            (
                row.architecture,
                row.model if row.model != row.architecture else "",
                config_label(row),
                row.state,
                f"{row.tp}/{row.ep}",
                layers_label(row),
                *(row.op_types.get(op_type, "") for op_type in columns),
                ", ".join(f"{o.op} ({o.layers})" for o in row.not_covered),
            )
            for row in report.rows
        ],
    )
    yield "## Share of kernels"
    yield ""
    yield from share_note(GPU)
    yield ""
    yield from _table(
        ("model", *SHARE_COLUMNS),
        [(row.model, *share_cells(step)) for row in report.rows for step in row.steps],
    )
    yield "## Why models are not whole"
    yield ""
    for row in report.rows:
        if row.reasons:
            yield f"- **{_plain(row.model)}** ({row.state})"
            yield from (f"  - {_plain(str(reason))}" for reason in row.reasons)
    yield ""
    yield "## Definitions that several models share"
    yield ""
    yield from _table(
        ("definition", "models", "layers", "used by"),
        [
            (f"`{d.name}`", len(d.models), d.layers, ", ".join(d.models))
            for d in report.shared_definitions
        ],
    )
    if report.unused:
        yield "## Files without a row"
        yield ""
        yield from (f"- {_plain(u.path)}: {_plain(u.reason)}" for u in report.unused)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_plain(str(cell)) for cell in row)} |"
    yield ""


def _plain(text: str) -> str:
    """Text that Markdown takes for neither a cell's end nor HTML, in one line."""
    line = " ".join(text.split())
    return line.replace("|", "\\|").replace("<", "&lt;")
