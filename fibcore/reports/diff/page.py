"""A comparison in HTML: every role that differs, with both sides, and the kernels of one side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fibcore import __version__
from fibcore.pages import Cell, Column, Table, TableRow, Tone, render_page
from fibcore.reports.diff.report import Change, DiffReport, ModelDiff, Occurrence, TraceDiff

if TYPE_CHECKING:
    from fibcore.pages.tables import Value

TONES: dict[str, Tone] = {
    "appears": "good",
    "vanishes": "bad",
    "replaced": "warn",
    "changed": "warn",
    "moved": "muted",
}


def render(report: DiffReport) -> str:
    """The page's text."""
    return render_page(
        "diff.html",
        title="What differs in kernels",
        generated_from=f"fibcore {__version__}, two {report.mode}"
        if report.trace is None
        else f"fibcore {__version__}, extraction and {report.trace.trace}",
        failures=report.failures,
        models=[
            (pair, list(pair.counts.items()), _changes(pair, number), _kernels(pair, number))
            for number, pair in enumerate(report.models)
        ],
        trace=_trace(report.trace) if report.trace is not None else None,
    )


def _changes(pair: ModelDiff, number: int) -> Table:
    return Table(
        id=f"changes-{number}",
        caption=f"Roles that differ: {pair.label}",
        columns=(
            Column("Role", help="Path of the layers, with * for numbers"),
            Column("Change", filter=True),
            Column("Before"),
            Column("After"),
            Column("What differs"),
        ),
        # What moved and is the same otherwise comes last.
        rows=(
            TableRow(_cells(change), data=change)
            for change in sorted(pair.changes, key=lambda change: change.kind == "moved")
        ),
        empty="Nothing differs.",
    )


def _cells(change: Change) -> tuple[Value | Cell, ...]:
    return (
        Cell(change.role, code=True),
        Cell(change.kind, tone=TONES[change.kind]),
        _names(change.before),
        _names(change.after),
        "; ".join(change.details),
    )


def _names(found: Sequence[Occurrence]) -> str:
    return ", ".join(f"{one.what} ({one.layers})" for one in found)


def _kernels(pair: ModelDiff, number: int) -> Table:
    sides: tuple[tuple[str, Tone, Sequence[str]], ...] = (
        ("before", "bad", pair.vanish),
        ("after", "good", pair.appear),
        ("both", "none", pair.kernels),
    )
    return Table(
        id=f"kernels-{number}",
        caption=f"Kernels: {pair.label}",
        columns=(Column("Kernel"), Column("Side", filter=True)),
        rows=(
            TableRow((Cell(name, code=True), Cell(side, tone=tone)))
            for side, tone, names in sides
            for name in names
        ),
        empty="Neither side has a kernel.",
    )


def _trace(trace: TraceDiff) -> Table:
    columns = ("Kernel", "Side", "Op type", "In the dump", "Layers", "From", "What differs")
    rows: list[tuple[Value | Cell, ...]] = [
        (
            Cell(m.name, code=True),
            Cell("both", tone="warn" if m.differences else "good"),
            *("", m.traced, m.layers, m.where, "; ".join(m.differences)),
        )
        for m in trace.matched
    ]
    alone = (("extraction", trace.static_only), ("dump", trace.traced_only))
    rows += [
        (
            Cell(one.name, code=True),
            Cell(side, tone="bad"),
            *(one.op_type, "", one.layers, one.where, one.reason),
        )
        for side, found in alone
        for one in found
    ]
    return Table(
        id="trace",
        caption="Extraction and the dump",
        columns=[
            Column(title, kind="number" if title == "Layers" else "text", filter=title == "Side")
            for title in columns
        ],
        rows=[TableRow(row) for row in rows],
        empty="Neither side has a kernel.",
    )
