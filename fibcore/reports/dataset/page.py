"""The page of a dataset: what goes into which table and plot."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fibcore import __version__
from fibcore.benchmarking.certificates.reading import CERTIFIED
from fibcore.benchmarking.costs.gpus import GPUS
from fibcore.dataset.inventory import PASSED
from fibcore.pages import (
    Cell,
    Column,
    LegendEntry,
    Matrix,
    MatrixCell,
    Plot,
    Point,
    Table,
    TableRow,
    render_page,
    strip_plot,
)
from fibcore.pages.axes import number
from fibcore.pages.tables import natural
from fibcore.reports.dataset.contents import Contents, Entry
from fibcore.reports.dataset.steps import DatasetSteps
from fibcore.reports.step_pictures import StepPart, step_parts

TABLE = "definitions"


def render(contents: Contents, name: str, steps: DatasetSteps | None = None) -> str:
    """The page's text.

    Args:
        contents: What the dataset holds.
        name: What the dataset is called on the page.
        steps: Steps of its models; None where they are not to be shown.
    """
    entries = contents.entries
    return render_page(
        "report.html",
        title=f"Kernel definitions of {name}",
        generated_from=f"fibcore {__version__}, from the dataset {name}",
        definitions=_definitions(entries),
        models=_models(entries),
        plots=[
            plot
            for make in (_errors, _speedups, _latencies, _shares)
            if (plot := make(entries)) is not None
        ],
        gpus=GPUS,
        steps=[] if steps is None else _steps(steps),
        refused=() if steps is None else steps.refused,
        tally=_tally(entries, contents),
        contents=contents,
    )


def _steps(steps: DatasetSteps) -> list[tuple[str, tuple[str, ...], list[StepPart]]]:
    return [
        (model.label, model.partial, list(step_parts(steps.gpus, number, model.steps)))
        for number, model in enumerate(steps.models)
    ]


def _tally(entries: tuple[Entry, ...], contents: Contents) -> list[tuple[int, str, str]]:
    verified = sum(entry.verified for entry in entries)
    models = {m for e in entries for m in e.definition.tag_values("model")}
    items = [
        (len(entries), "definitions", "none"),
        (verified, "verified", "good"),
        (len(entries) - verified, "unverified", "warn" if verified < len(entries) else "none"),
        (len({e.definition.op_type for e in entries}), "op types", "none"),
        (len(models), "models", "none"),
        (sum(len(e.holding.workloads) for e in entries), "workloads", "none"),
        (sum(len(e.holding.solutions) for e in entries), "solutions", "none"),
        (sum(len(e.holding.evaluations) for e in entries), "benchmark results", "none"),
    ]
    states = [found.state for entry in entries if (found := entry.certified) is not None]
    if states:
        certified = states.count(CERTIFIED)
        items.append((certified, "certified", "good" if certified else "warn"))
    impossible = sum(m.impossible for e in entries for m in e.measured)
    if impossible:
        items.append((impossible, "impossible times", "bad"))
    if contents.problems:
        items.append((len(contents.problems), "broken files", "bad"))
    return items


def _definitions(entries: tuple[Entry, ...]) -> Table:
    measured = any(entry.best is not None for entry in entries)
    tried = any(entry.certificate is not None for entry in entries)
    told = "Whether its workloads tell right kernels from wrong ones"
    certificate = Column("Certificate", filter=True, help=told)
    speedup = Column("Speedup", kind="number", help="Largest speedup over the reference")
    return Table(
        id=TABLE,
        caption="Definitions",
        columns=(
            Column("Definition"),
            Column("Op type", filter=True),
            Column("Model", filter=True),
            Column("Stage", filter=True),
            Column("Quantization", filter=True),
            Column("Status", filter=True),
            Column("Max error", kind="number", help="Largest absolute error of the best test run"),
            *((certificate,) if tried else ()),
            *((speedup,) if measured else ()),
        ),
        rows=[_row(entry, measured=measured, tried=tried) for entry in entries],
        empty="The dataset has no definitions.",
    )


def _row(entry: Entry, *, measured: bool, tried: bool) -> TableRow:
    d = entry.definition
    status = d.tag_values("status")
    error = entry.errors[0] if entry.errors else None
    words = [d.description or "", *d.tags, *d.axes, *d.inputs, *d.outputs]
    for source in entry.provenance.entries if entry.provenance else ():
        words += [source.architecture, source.hub_id or ""]
        words += [origin for fact in source.facts.values() for origin in fact.origins]
    words += [solution.name for solution in entry.holding.solutions]
    return TableRow(
        (
            Cell(d.name, code=True),
            d.op_type,
            _chips(d.tag_values("model")),
            _chips(d.tag_values("stage")),
            _chips(d.tag_values("quantization")),
            Cell(
                ", ".join(status) or "no status",
                values=status,
                tone="good" if entry.verified else "warn",
                title="; ".join(entry.verdict.ground_truths or entry.verdict.reasons),
            ),
            Cell("")
            if error is None
            else Cell(
                number(error.value),
                sort=error.value if math.isfinite(error.value) else 1e308,
                title=f"{error.output} in the case {error.case}, against {error.ground_truth} "
                f"on {error.device}",
            ),
            *((_certificate(entry),) if tried else ()),
            *((_speedup(entry),) if measured else ()),
        ),
        anchor=d.name,
        search=" ".join(dict.fromkeys(words)),
        data=entry,
    )


def _certificate(entry: Entry) -> Cell:
    found = entry.certified
    if found is None:
        return Cell("not tried", values=("not tried",))
    return Cell(
        found.state,
        values=(found.state,),
        tone="good" if found.state == CERTIFIED else "warn",
        title="; ".join(found.reasons),
    )


def _speedup(entry: Entry) -> Cell:
    best = entry.best
    if best is None or best.speedup is None:
        return Cell("")
    title = f"{best.solution} on {best.hardware}"
    return Cell(f"{best.speedup:.3g}x", sort=best.speedup, title=title)


def _chips(values: tuple[str, ...]) -> Cell:
    return Cell(", ".join(values), values=values, chips=True)


def _models(entries: tuple[Entry, ...]) -> Matrix | None:
    """Models and op types: how many of the definitions are verified."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        for model in entry.definition.tag_values("model"):
            groups.setdefault((model, entry.definition.op_type), []).append(entry)
    if not groups:
        return None
    cells = {}
    for (model, op_type), members in groups.items():
        done = sum(entry.verified for entry in members)
        cells[model, op_type] = MatrixCell(
            f"{done}/{len(members)}",
            f"{model}, {op_type}: {done} of {len(members)} definitions verified",
            tone="good" if done == len(members) else "warn" if done else "bad",
            sort=done / len(members),
            href=_filtered(model=model, op_type=op_type),
        )
    models = sorted({model for model, _ in groups}, key=natural)
    return Matrix(
        id="models",
        caption="Models and op types: definitions that are verified",
        corner="Model",
        rows=models,
        columns=sorted({op_type for _, op_type in groups}),
        cells=cells,
        legend=(
            LegendEntry("all verified", "good"),
            LegendEntry("some verified", "warn"),
            LegendEntry("none verified", "bad"),
        ),
        links={model: _filtered(model=model) for model in models},
        searchable=len(models) > 10,
    )


def _filtered(*, model: str, op_type: str | None = None) -> str:
    """A link to the table of definitions, filtered."""
    from urllib.parse import urlencode

    query = {f"{TABLE}.model": model}
    if op_type is not None:
        query[f"{TABLE}.op-type"] = op_type
    return f"#{TABLE}?{urlencode(query)}"


def _errors(entries: Iterable[Entry]) -> Plot | None:
    points = [
        Point(
            error.value,
            entry.definition.op_type,
            f"{entry.definition.name}: {number(error.value)} in {error.output} ({error.case}), "
            f"against {error.ground_truth} on {error.device}",
            f"#{entry.definition.name}",
            error.device,
        )
        for entry in entries
        for error in entry.errors
    ]
    if not points:
        return None
    return strip_plot(
        points,
        title="Errors of the references, one point for each definition and test run",
        label="largest absolute error against the ground truth",
        log=True,
    )


def _speedups(entries: Iterable[Entry]) -> Plot | None:
    return _benchmarks(
        entries,
        "speedup",
        "x",
        title="Speedups of solutions that passed, one point for each workload",
        label="latency of the reference / latency of the solution",
    )


def _latencies(entries: Iterable[Entry]) -> Plot | None:
    return _benchmarks(
        entries,
        "latency_ms",
        " ms",
        title="Latencies of solutions that passed, one point for each workload",
        label="latency (ms)",
    )


def _shares(entries: Iterable[Entry]) -> Plot | None:
    points = [
        Point(
            one.share,
            entry.definition.op_type,
            f"{one.words}; the floor is {number(one.floor.seconds * 1000)} ms"
            + (f", if {one.cost.assumes}" if one.cost.assumes else ""),
            f"#{entry.definition.name}",
            one.hardware,
        )
        for entry in entries
        for one in entry.measured
        if one.share is not None and one.floor is not None
    ]
    if not points:
        return None
    return strip_plot(
        points,
        title="How near solutions come to the hardware, one point for each workload",
        label="floor of the GPU / latency of the solution",
        log=True,
    )


def _benchmarks(
    entries: Iterable[Entry], attribute: str, unit: str, *, title: str, label: str
) -> Plot | None:
    points = []
    for entry in entries:
        for e in entry.holding.evaluations:
            value = getattr(e, attribute)
            if e.status != PASSED or value is None:
                continue
            sizes = ", ".join(f"{axis} {size}" for axis, size in e.axes.items())
            points.append(
                Point(
                    value,
                    entry.definition.op_type,
                    f"{entry.definition.name}, {e.solution}: {number(value)}{unit} "
                    f"({sizes}; {e.hardware})",
                    f"#{entry.definition.name}",
                    e.hardware,
                )
            )
    return strip_plot(points, title=title, label=label, log=True) if points else None
