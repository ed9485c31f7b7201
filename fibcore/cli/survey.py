"""`fibcore survey`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.reports.survey import SurveyedModel, SurveyReport

SHOWN = 15
"""Ops without a definition that are printed; -v prints all."""


@cli.command()
@options.sglang
@click.option(
    "--configs",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="Folder with config files (repeatable).",
)
@click.option("--model-name", multiple=True, metavar="NAME", help="These models only (repeatable).")
@click.option("--tp", type=options.PositiveInt(), help="Tensor-parallel size of all models.")
@click.option("--ep", type=options.PositiveInt(), help="Expert-parallel size of all models.")
@declared.launched
@click.option("--jobs", type=options.PositiveInt(), help="Processes.  [default: one for each core]")
@click.option(
    "--timeout",
    "timeout_s",
    type=options.Tolerance(),
    metavar="S",
    default=300.0,
    help="Seconds after which a model is given up.  [default: 300]",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the files.  [default: reports in the dataset]",
)
@click.option("--dask", metavar="ADDRESS", help="Work on the cluster of this Dask scheduler.")
@options.common
def survey(out: Output, **given: Any) -> int:
    """Elaborate all architectures and tell which kernels to write next.

    Writes survey.md, survey.json and survey.html. An architecture's config comes from --configs,
    else the built-in catalogue, else the defaults of its config class. The exit status is 1 where
    a model met a defect, hung or crashed, or a config file cannot be read; models that are partial
    or refused are results.
    """
    from fibcore.reports.survey import survey as api

    report = api(progress=out.progress, **given)
    show(report, out)
    return report.exit_code


def show(report: SurveyReport, out: Output) -> None:
    """Print the rows, the totals, and what is wanted most."""
    out.close()
    out.document(lambda: {**report.to_dict(), "timings": report.timings(), "output": report.output})
    out.line(report.source)
    if report.served:
        out.line(f"as served: {report.served}")
    out.table(
        ("architecture", "model", "state", "layers", "definitions", "not covered", "s"),
        [_cells(row) for row in report.rows],
    )
    for row in report.rows:
        for reason in row.reasons if row.state != "no config" else ():
            out.line(f"{row.model} {row.state}: {reason}", level=1)
    for unused in report.unused:
        out.line(f"no row: {unused.path}: {unused.reason}", level=1)
    for stage, total in report.launches.items():
        out.line(f"{stage}: {total}")
    wanted = report.not_covered if out.verbosity > 0 else report.not_covered[:SHOWN]
    if wanted:
        out.line()
        out.table(
            ("op without a definition", "models", "layers"),
            [(op.name, len(op.models), op.layers) for op in wanted],
        )
        if len(wanted) < len(report.not_covered):
            out.line(f"and {len(report.not_covered) - len(wanted)} more (-v shows them)")
    for plugin in report.skipped_plugins:
        out.warn(f"plugin left out: {plugin}")
    for failure in report.failures:
        out.warn(f"failed: {failure}")
    out.line()
    counts, shares = report.counts, report.percentages
    states = [f"{counts[s]} {s} ({shares[s]:g} %)" for s in shares]
    out.result(
        f"{counts['architectures']} architectures: {', '.join(states)}, "
        f"{counts['no config']} no config; {len(report.definitions)} definitions, "
        f"{len(report.shared_definitions)} of them shared; {report.seconds:.0f} s ({report.output})"
    )


def _cells(row: SurveyedModel) -> tuple[object, ...]:
    from fibcore.reports.survey.labels import layers_label

    model = row.model if row.model != row.architecture else ""
    definitions = ", ".join(f"{count} {op}" for op, count in row.op_types.items())
    seconds = f"{row.seconds:.1f}" if row.seconds else ""
    return (
        *(row.architecture, model, row.state, layers_label(row), definitions),
        *(len(row.not_covered) or "", seconds),
    )
