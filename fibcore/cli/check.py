"""`fibcore check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.checking.report import CheckReport

SHOWN = 20


@cli.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--model-name", multiple=True, metavar="NAME", help="Model of rows that name none.")
@options.model_constants
@declared.serving_sizes
@declared.launched
@options.sglang
@options.common
def check(out: Output, table: Path, **given: Any) -> int:
    """Hold a TABLE of others, CSV, JSON or a page in Markdown, against the source.

    Every row is right, wrong (with the true value and where it comes from) or unknown. The exit
    status is 0 where all are right.
    """
    from fibcore.checking.run import check as api

    report = api(table, progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: CheckReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    for state in ("wrong", "unknown", "right"):
        rows = [verdict for verdict in report.verdicts if verdict.state == state]
        shown = rows if out.verbosity > 0 else rows[: SHOWN if state != "right" else 0]
        for verdict in shown:
            model = f"{verdict.model}: " if verdict.model else ""
            out.line(f"{state}: {verdict.row}")
            out.line(f"    {model}{verdict.why}")
            if verdict.source:
                out.line(f"    {verdict.source}")
        if len(shown) < len(rows) and shown:
            out.line(f"and {len(rows) - len(shown)} more that are {state} (-v shows them)")
    for refused in report.refused:
        out.warn(f"refused: {refused}")
    for failure in report.failures:
        out.warn(f"not complete: {failure}")
    counts = ", ".join(f"{number} {state}" for state, number in report.counts.items())
    out.result(f"{report.table}: {counts}")
