"""survey.html: what to write next, which model needs what, and why a model is not whole."""

from __future__ import annotations

from fibcore import __version__
from fibcore.pages import (
    Bar,
    Cell,
    Column,
    LegendEntry,
    Matrix,
    MatrixCell,
    Plot,
    Table,
    TableRow,
    Tone,
    bar_plot,
    render_page,
)
from fibcore.reports.share_table import share_table
from fibcore.reports.survey import report as data
from fibcore.reports.survey.labels import config_label, layers_label, op_reasons

TONES: dict[data.State, Tone] = {
    "whole": "good",
    "partial": "warn",
    "refused": "bad",
    "failed": "bad",
    "no config": "muted",
}
BARS = 15
"""Ops of the plot."""

COLUMNS = 16
"""Ops without a definition that have a column of their own in the picture; the rest shares one."""

_KINDS = {"file": "file", "catalogue": "catalogue", "class": "class", "": "none"}
_OTHER = "other ops"


def page(report: data.SurveyReport) -> str:
    """The survey as a self-contained page."""
    anchors = {row.model: f"model-{n}" for n, row in enumerate(report.rows)}
    counts = report.counts
    return render_page(
        "survey.html",
        title="What SGLang's architectures need",
        generated_from=f"fibcore {__version__}, {report.source}",
        report=report,
        counts=[(counts[s], _words(report, s), TONES[s]) for s in data.STATES],
        plot=_plot(report),
        ops=_ops(report, anchors),
        models=_models(report, anchors),
        picture=_picture(report, anchors),
        launches=share_table((row.model, row.steps) for row in report.rows),
        definitions=_definitions(report, anchors),
        anchors=anchors,
    )


def _words(report: data.SurveyReport, state: data.State) -> str:
    share = report.percentages.get(state)
    return state if share is None else f"{state}, {share:g} %"


def _plot(report: data.SurveyReport) -> Plot:
    return bar_plot(
        (
            Bar(
                op.name,
                len(op.models),
                title=f"{op.name}: {len(op.models)} models, {op.layers} layers",
                href=f"#op-{n}",
            )
            for n, op in enumerate(report.not_covered[:BARS])
        ),
        title="Ops without a definition, by the number of models that run them",
        label="models",
    )


def _ops(report: data.SurveyReport, anchors: dict[str, str]) -> Table:
    reasons = op_reasons(report)
    return Table(
        id="ops",
        caption="Ops without a definition",
        columns=(
            Column("Op", help="A leaf class, or what a plugin calls it; N stands for sizes"),
            Column("Models", kind="number"),
            Column("Layers", kind="number", help="Layers of all these models that run it"),
            Column("Why"),
        ),
        rows=(
            TableRow(
                (Cell(op.name, code=True), len(op.models), op.layers, reasons[op.name]),
                anchor=f"op-{n}",
                search=" ".join(op.models),
                data=(op.variants, [(model, anchors[model]) for model in op.models]),
            )
            for n, op in enumerate(report.not_covered)
        ),
        empty="Every op of every model has a definition.",
    )


def _models(report: data.SurveyReport, anchors: dict[str, str]) -> Table:
    def row(found: data.SurveyedModel) -> TableRow:
        first = str(found.reasons[0]) if found.reasons else ""
        more = f" (+{len(found.reasons) - 1})" if len(found.reasons) > 1 else ""
        op_types = tuple(found.op_types)
        elaborated = bool(found.definitions or found.not_covered)
        named = found.model != found.architecture
        return TableRow(
            (
                Cell(
                    f"{found.architecture} · {found.model}" if named else found.architecture,
                    code=True,
                    values=(found.architecture,),
                ),
                Cell(_KINDS[found.origin.partition(":")[0]], title=config_label(found)),
                Cell(found.state, tone=TONES[found.state], sort=data.STATES.index(found.state)),
                Cell(layers_label(found), sort=sum(found.layers.values()) or None),
                len(found.definitions) if elaborated else None,
                Cell(
                    str(len(op_types)) if elaborated else "",
                    sort=len(op_types) if elaborated else None,
                    values=op_types,
                    title=", ".join(op_types),
                ),
                Cell(
                    str(len(found.not_covered)) if elaborated else "",
                    sort=len(found.not_covered) if elaborated else None,
                    title=", ".join(o.op for o in found.not_covered),
                ),
                Cell(_short(first, 90) + more, title=first),
            ),
            anchor=anchors[found.model],
            search=" ".join(
                (
                    *(found.file, found.origin),
                    *(o.op for o in found.not_covered),
                    *map(str, found.reasons),
                )
            ),
            data=found,
        )

    return Table(
        id="models",
        caption="Models",
        columns=(
            Column("Model", help="Architecture, and the model where its config is not the class's"),
            Column("Config", filter=True),
            Column("State", filter=True),
            Column("Layers", kind="number", help="Lengths of the model's lists of layers"),
            Column("Definitions", kind="number"),
            Column("Op types", kind="number", filter=True),
            Column("Not covered", kind="number", help="Ops that no definition describes"),
            Column("Why it is not whole"),
        ),
        rows=map(row, report.rows),
        empty="No model.",
    )


def _picture(report: data.SurveyReport, anchors: dict[str, str]) -> Matrix:
    """Models by op types, and the most wanted ops without a definition."""
    wanted = [op.name for op in report.not_covered if op.name not in report.op_types]
    named = wanted[:COLUMNS]
    rows = [row for row in report.rows if row.definitions or row.not_covered]
    columns = [*report.op_types, *named]
    cells: dict[tuple[str, str], MatrixCell] = {}
    for row in rows:
        for op_type, count in row.op_types.items():
            title = f"{row.model} needs {count} definitions of {op_type}"
            cells[row.model, op_type] = MatrixCell(str(count), title, "good", sort=count)
        layers: dict[str, int] = {}
        for op in row.not_covered:
            layers[data.family(op.op)] = layers.get(data.family(op.op), 0) + op.layers
        others = {name: count for name, count in layers.items() if name not in named}
        for name, count in layers.items():
            if name in named:
                title = f"{row.model}: {name} in {count} layers, no definition"
                cells[row.model, name] = MatrixCell(str(count), title, "warn", sort=count)
        if others:
            said = ", ".join(f"{name} ({count})" for name, count in others.items())
            cells[row.model, _OTHER] = MatrixCell(
                str(len(others)),
                f"{row.model}: no definition of {said}",
                "bad",
                sort=len(others),
                href=f"#{anchors[row.model]}",
            )
    if any(column == _OTHER for _, column in cells):
        columns.append(_OTHER)
    return Matrix(
        id="picture",
        caption="What each model needs",
        corner="Model",
        rows=tuple(row.model for row in rows),
        columns=tuple(columns),
        cells=cells,
        legend=(
            LegendEntry("number of definitions of an op type", "good"),
            LegendEntry("number of layers that run an op without a definition", "warn"),
            LegendEntry("number of other ops without a definition", "bad"),
        ),
        links={row.model: f"#{anchors[row.model]}" for row in rows},
    )


def _definitions(report: data.SurveyReport, anchors: dict[str, str]) -> Table:
    op_types = {d.name: d.op_type for row in report.rows for d in row.definitions}
    return Table(
        id="definitions",
        caption="Definitions that several models share",
        columns=(
            Column("Definition"),
            Column("Op type", filter=True),
            Column("Models", kind="number"),
            Column("Layers", kind="number", help="Layers of all these models that run it"),
        ),
        rows=(
            TableRow(
                (Cell(d.name, code=True), op_types[d.name], len(d.models), d.layers),
                search=" ".join(d.models),
                data=[(model, anchors[model]) for model in d.models],
            )
            for d in report.shared_definitions
        ),
        empty="No definition is needed by several models.",
    )


def _short(text: str, width: int = 48) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
