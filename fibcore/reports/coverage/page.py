"""The coverage page in HTML."""

from __future__ import annotations

from fibcore import __version__
from fibcore.pages import (
    Cell,
    Column,
    LegendEntry,
    Matrix,
    MatrixCell,
    Table,
    TableRow,
    Tone,
    render_page,
)
from fibcore.pages.tables import Value
from fibcore.reports.coverage.report import STEPS, CoverageReport, ModelCoverage, Need
from fibcore.reports.share_table import share_table

TABLE = "needs"


def render(report: CoverageReport, name: str) -> str:
    """The page's text.

    Args:
        report: The coverage.
        name: What the dataset is called on the page.
    """
    return render_page(
        "coverage.html",
        title=f"Coverage of {name}",
        generated_from=f"fibcore {__version__}, from the dataset {name} and {report.source}",
        report=report,
        tally=_tally(report),
        totals=_totals(report),
        matrix=_matrix(report),
        launches=_steps(report),
        needs=_needs(report),
        uncovered=_uncovered(report),
        unneeded=_unneeded(report),
    )


def _tally(report: CoverageReport) -> list[tuple[int, str, Tone]]:
    counts = report.counts
    words = ("needed", "there", "verified", "with workloads", "with a baseline", "benchmarked")
    items: list[tuple[int, str, Tone]] = [(len(report.models), "models", "none")]
    for word, count in zip(words, counts.values(), strict=True):
        items.append((count, word, _tone(count, counts["needed"]) if word != "needed" else "none"))
    return items


def _tone(done: int, needed: int) -> Tone:
    if not needed:
        return "none"
    return "good" if done == needed else "warn" if done else "bad"


def _share(done: int, needed: int) -> Cell:
    return Cell(
        f"{done}/{needed}",
        sort=done / needed if needed else None,
        tone=_tone(done, needed),
        title=f"{done} of {needed}",
    )


def _totals(report: CoverageReport) -> Table:
    return Table(
        id="totals",
        caption="Models",
        columns=(
            Column("Model"),
            Column("Architecture"),
            Column("Served at"),
            Column("Needed", kind="number"),
            *(Column(step.capitalize(), kind="number") for step in STEPS),
        ),
        rows=[_total(model) for model in report.models],
        searchable=len(report.models) > 10,
        empty="No model was looked at.",
    )


def _total(model: ModelCoverage) -> TableRow:
    counts = model.counts
    shares = [_share(counts[step], counts["needed"]) for step in STEPS]
    note = "could not be extracted; what the dataset records" if model.recorded else ""
    cells: list[Value | Cell] = [
        Cell(model.slug, href=f"#{TABLE}?{TABLE}.model={model.slug}"),
        Cell(model.architecture or note, title=model.constants),
        "; ".join(model.servings),
        counts["needed"],
        *shares,
    ]
    return TableRow(cells, anchor=f"model-{model.slug}")


def _matrix(report: CoverageReport) -> Matrix | None:
    """Models and op types: how many of the needed definitions are there and verified."""
    groups: dict[tuple[str, str], list[Need]] = {}
    for model in report.models:
        for need in model.needs:
            groups.setdefault((model.slug, need.op_type), []).append(need)
    if not groups:
        return None
    cells = {}
    for (slug, op_type), needs in groups.items():
        there = sum(need.definition is not None for need in needs)
        verified = sum(need.verified for need in needs)
        tone: Tone = "bad" if there < len(needs) else "good" if verified == there else "warn"
        cells[slug, op_type] = MatrixCell(
            f"{verified}/{len(needs)}",
            f"{slug}, {op_type}: of {len(needs)} definitions {there} are there, "
            f"{verified} are verified",
            tone,
            sort=(there + verified) / (2 * len(needs)),
            href=f"#{TABLE}?{TABLE}.model={slug}&{TABLE}.op-type={op_type}",
        )
    return Matrix(
        id="matrix",
        caption="Models and op types: definitions that are verified",
        corner="Model",
        rows=list(dict.fromkeys(slug for slug, _ in groups)),
        columns=sorted({op_type for _, op_type in groups}),
        cells=cells,
        legend=(
            LegendEntry("all verified", "good"),
            LegendEntry("all there, not all verified", "warn"),
            LegendEntry("some missing", "bad"),
        ),
        searchable=len(report.models) > 10,
    )


def _steps(report: CoverageReport) -> Table:
    return share_table((model.slug, model.steps) for model in report.models)


def _needs(report: CoverageReport) -> Table:
    return Table(
        id=TABLE,
        caption="Definitions that models need",
        columns=(
            Column("Definition"),
            Column("Model", filter=True),
            Column("Op type", filter=True),
            Column("Layers", kind="number"),
            Column("State", filter=True),
            Column("Workloads", kind="number"),
            Column("Baseline"),
            Column("Benchmarks", kind="number", help="Results that passed"),
            Column("Missing", kind="number", filter=True),
        ),
        rows=[_row(model, need) for model in report.models for need in model.needs],
        empty="None of the models needs a definition.",
    )


def _row(model: ModelCoverage, need: Need) -> TableRow:
    state = "missing"
    if need.definition is not None:
        state = "verified" if need.verified else "unverified"
    tones: dict[str, Tone] = {"verified": "good", "unverified": "warn", "missing": "bad"}
    return TableRow(
        (
            Cell(need.name, code=True, title="; ".join(need.notes)),
            model.slug,
            need.op_type,
            need.layers,
            Cell(state, tone=tones[state]),
            need.workloads,
            Cell("yes" if need.baseline else "no", tone="good" if need.baseline else "muted"),
            need.passed,
            Cell(
                f"{len(need.missing)} of {len(STEPS)}",
                sort=len(need.missing),
                values=need.missing,
                title=", ".join(need.missing) or "nothing is missing",
            ),
        ),
        anchor=f"{model.slug}--{need.name}",
        search=f"{need.kernel} {need.where} {' '.join(need.servings)}",
        data=need,
    )


def _uncovered(report: CoverageReport) -> Table:
    return Table(
        id="uncovered",
        caption="Ops without a definition",
        columns=(
            Column("Op"),
            Column("Model", filter=True),
            Column("Layers", kind="number"),
            Column("Why"),
        ),
        rows=[
            TableRow((op.what, model.slug, op.layers, op.reason))
            for model in report.models
            for op in model.uncovered
        ],
        empty="Every op of the models has a definition.",
    )


def _unneeded(report: CoverageReport) -> Table | None:
    if not report.unneeded:
        return None
    return Table(
        id="unneeded",
        caption="Definitions that a tagged model does not need",
        columns=(Column("Definition"), Column("Models")),
        rows=[
            TableRow((Cell(name, code=True), Cell(", ".join(models), values=models, chips=True)))
            for name, models in report.unneeded.items()
        ],
        searchable=False,
    )
