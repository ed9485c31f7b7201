"""`fibcore diff`: the command and its printing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.extraction.request import Config
    from fibcore.reports.diff import Change, DiffReport, ModelDiff, Occurrence, TraceDiff


@cli.command()
@click.option("--model-name", multiple=True, metavar="NAME", help="Model (repeatable).")
@click.option(
    "--sglang",
    multiple=True,
    metavar="SRC",
    help="SGLang source; two of them are compared.  [default: the one in the target dir]",
)
@options.package
@click.option(
    "--config",
    multiple=True,
    metavar="[NAME=]FILE",
    help="Config of the model, or of the model NAME; two of one model are compared.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Compare with what FlashInfer's tracing wrote.",
)
@declared.serving_sizes
@declared.two_launches
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page in HTML.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 where the sides differ.")
@options.common
def diff(
    out: Output,
    model_name: tuple[str, ...],
    sglang: tuple[str, ...],
    config: tuple[str, ...],
    launch: tuple[str, ...],
    gpu: tuple[str, ...],
    exit_code: bool,
    **given: Any,
) -> int:
    """Compare kernels: of two sources, models, configs or launches, or with a trace dump.

    Two --sglang compare every model on both; two --model-name compare these on one source; two
    --config compare two configs of one model, two --launch or --gpu two ways to serve it; --trace
    compares extraction with a dump. Nothing is written but the page of --output. The exit status is
    0 where everything was compared, 1 where a side failed or is partial, and with --exit-code also
    where the sides differ in more than source lines.
    """
    from fibcore.reports.diff import diff as api

    report = api(
        model_name,
        sglang=sglang or None,
        config=_configs(config, model_name),
        launch=launch or None,
        gpu=gpu or None,
        progress=out.progress,
        **given,
    )
    _print(report, out)
    return report.exit_code or int(exit_code and report.differs)


def _configs(given: Sequence[str], names: Sequence[str]) -> Config | Sequence[Config]:
    """The configs by side: `NAME=FILE` belongs to the model of that name, others are in order."""
    named: dict[str, str] = {}
    plain: list[str] = []
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or name not in names:
            plain.append(text)
        elif name in named:
            raise click.UsageError(f"--config {name}=... is given twice")
        else:
            named[name] = file
    if named and plain:
        raise click.UsageError("give every --config as NAME=FILE, or none")
    if named:
        return named[names[0]] if len(names) == 1 else tuple(map(named.get, names))
    return tuple(plain) if len(plain) > 1 else plain[0] if plain else None


def _print(report: DiffReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    for pair in report.models:
        _pair(pair, out)
    if report.trace is not None:
        _trace(report.trace, out)
    for side, refused in report.refused:
        out.warn(f"refused: {side}: {refused}")
    for pair in report.models:
        for side, model in (("before", pair.before), ("after", pair.after)):
            for error in model.errors:
                out.warn(f"{side}: {model.label}: {error}")
    for failure in report.failures:
        out.warn(f"not complete: {failure}")
    if report.output:
        out.line(f"written: {report.output}")


def _pair(pair: ModelDiff, out: Output) -> None:
    out.line(pair.label)
    for mark, side in (("-", pair.before), ("+", pair.after)):
        served = f", as served: {side.served}" if side.served else ""
        out.line(
            f"  {mark} {side.architecture}, constants from {side.constants}, {side.source}{served}"
        )
    for change in pair.changes:
        if change.kind != "moved" or out.verbosity > 0:
            _change(change, out)
    for label, names in (("vanish", pair.vanish), ("appear", pair.appear)):
        if names:
            out.line(f"  {label}: {', '.join(names)}")
    c = pair.counts
    moved = f", {c['moved']} moved{'' if out.verbosity > 0 else ' (-v shows them)'}"
    roles = ", ".join(f"{c[k]} {k}" for k in ("appears", "vanishes", "replaced", "changed") if c[k])
    out.result(
        f"  {c['kernels on both sides']} kernels on both sides, {c['kernels that vanish']} vanish, "
        f"{c['kernels that appear']} appear; roles: {roles or 'no difference'}"
        f"{moved if c['moved'] else ''}"
    )
    out.line()


def _change(change: Change, out: Output) -> None:
    details = f": {'; '.join(change.details)}" if change.details else ""
    out.line(f"  {change.kind} {change.role}{details}")
    rows = [
        (mark, _kind(o), o.what, o.layers, _places(o, out))
        for mark, side in (("-", change.before), ("+", change.after))
        for o in side
    ]
    for row in _aligned(rows):
        out.line(f"    {row}")
    if out.verbosity > 0:
        for mark, side in (("-", change.before), ("+", change.after)):
            for o in side:
                for path in o.paths:
                    out.line(f"      {mark} {o.what}: {path} ({', '.join(o.classes)})")
    if change.kind == "changed":
        return  # the details have the reasons that differ
    for mark, side in (("-", change.before), ("+", change.after)):
        for o in side:
            if o.reason is not None:
                out.line(f"      {mark} {o.what}: {o.reason}")


def _kind(occurrence: Occurrence) -> str:
    return occurrence.op_type or occurrence.kind


def _places(occurrence: Occurrence, out: Output) -> str:
    places = occurrence.places if out.verbosity > 0 else occurrence.places[:1]
    more = len(occurrence.places) - len(places)
    return ", ".join(places) + (f" and {more} more" if more else "")


def _aligned(rows: Sequence[Sequence[object]]) -> Iterable[str]:
    """Plain columns; a table of one or two rows would be mostly frame."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()


def _trace(report: TraceDiff, out: Output) -> None:
    for model in report.models:
        out.line(f"{model.label}, {model.source}")
    out.line(f"trace {report.trace}: {report.files} kernels")
    out.line()
    if report.matched:
        out.table(
            ("kernel", "in the dump", "layers", "from", "differences"),
            [
                (m.name, m.traced, m.layers, m.where, "; ".join(m.differences))
                for m in report.matched
            ],
            title="On both sides",
        )
        out.line()
    for title, rows in (
        ("Not in the dump", report.static_only),
        ("In the dump alone", report.traced_only),
    ):
        if rows:
            out.table(
                ("op type", "kernel", "from", "why"),
                [(r.op_type, r.name, r.where, r.reason) for r in rows],
                title=title,
            )
            out.line()
    c = report.counts
    out.result(
        f"{c['matched']} on both sides, {c['matched with differences']} of them with differences; "
        f"{c['static only']} not in the dump, {c['traced only']} in the dump alone"
    )
