"""`fibcore export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.exporting.report import ExportReport

ROWS_SHOWN = 40


@cli.command()
@click.argument("format", metavar="[FORMAT]", required=False)
@click.option("--model-name", multiple=True, metavar="NAME", help="Model (repeatable).")
@options.model_constants
@click.option(
    "--configs",
    metavar="DIR",
    type=click.Path(exists=True, path_type=Path),
    help="All models whose config.json lies in this folder.",
)
@declared.serving_sizes
@declared.launch_line
@click.option("--rows", type=options.PositiveInts(), help="Rows of a shape, such as 1,64,4096.")
@click.option("--gpu", multiple=True, metavar="NAME", help="GPU that keys are for (repeatable).")
@click.option(
    "--shipped",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Source of the consumer, which ships tuned configs.  [default: SGLang's]",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files here; without it only the table is shown.",
)
@options.sglang
@options.common
def export(out: Output, format: str | None, **given: Any) -> int:  # noqa: A002 - the argument
    """Write kernels of models in a FORMAT of tuners and benchmarks.

    Without FORMAT the formats are listed. Formats whose consumer ships tuned configs say which of
    the models' keys it lacks.
    """
    from fibcore.exporting import run as api

    if format is None:
        where = ("target_dir", "dataset", "disable_plugin")
        found = api.export_formats(progress=out.progress, **{name: given[name] for name in where})
        out.close()
        out.document(lambda: [one.to_dict() for one in found])
        rows = [(one.name, one.description, ", ".join(one.op_types) or "all") for one in found]
        out.table(("format", "what", "op types"), rows)
        return 0
    report = api.export(format, given.pop("model_name"), progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: ExportReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    for one in report.tables:
        shown = one.rows if out.verbosity > 0 else one.rows[:ROWS_SHOWN]
        if shown:
            out.table(one.columns, shown)
        if len(shown) < len(one.rows):
            out.line(f"and {len(one.rows) - len(shown)} more rows (-v shows them)")
    for name, why in report.left_out.items():
        out.line(f"left out: {name}: {why}")
    for gap in report.gaps:
        out.line(f"not shipped: {gap}", level=1)
    for refused in report.refused:
        out.warn(f"refused: {refused}")
    for failure in report.failures:
        out.warn(f"not complete: {failure}")
    where = report.output or "not written, --output DIR does that"
    lacking = f", {len(report.gaps)} keys not shipped" if report.gaps else ""
    out.result(f"{report.format}: {len(report.files)} files ({where}){lacking}")
