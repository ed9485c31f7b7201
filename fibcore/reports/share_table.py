"""The table of launches on HTML pages."""

from __future__ import annotations

from collections.abc import Iterable

from fibcore.pages import Cell, Column, Table, TableRow, Tone
from fibcore.reports.launches import GPU, StepShare, share_cells


def share_table(steps: Iterable[tuple[str, Iterable[StepShare]]]) -> Table:
    """Which part of a step's launches has a definition, for each model and stage."""
    return Table(
        id="steps",
        caption="Share of kernels: launches of a step that have a definition",
        columns=(
            Column("Model"),
            Column("Step", filter=True),
            Column("Launches", kind="number", help="With a definition, of all"),
            Column("Cost", kind="number", help=f"Their part of the floors on one {GPU}"),
            Column("Copies and collectives", help="They move data and compute nothing"),
            Column("Without a definition", help="How often a step launches it"),
        ),
        rows=[_row(model, step) for model, several in steps for step in several],
        empty="No model was looked at.",
    )


def _row(model: str, step: StepShare) -> TableRow:
    stage, launches, cost, moves, others = share_cells(step)
    return TableRow(
        (
            model,
            Cell(stage, title=step.batch),
            Cell(launches, sort=step.defined, tone=_tone(step.defined)),
            Cell(cost, sort=step.defined_cost, tone=_tone(step.defined_cost)),
            moves,
            others,
        )
    )


def _tone(share: float) -> Tone:
    return "good" if share >= 0.95 else "warn" if share >= 0.5 else "bad"
