"""`fibcore validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.validation.report import ValidationReport


@cli.command()
@click.option("--execute", is_flag=True, help="Also run every reference on small inputs.")
@options.common
def validate(out: Output, **given: Any) -> int:
    """Check the dataset: layout, schema, references, tags."""
    from fibcore.validation.run import validate as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return 0 if report.ok else 1


def _print(report: ValidationReport, out: Output) -> None:
    """Print every problem of the dataset, and the counts."""
    out.close()
    out.document(report.to_dict)
    for problem in report.problems:
        out.result(str(problem))
    for name, reason in report.not_executed.items():
        out.line(f"not executed: {name}: {reason}")
    c = report.counts
    executed = f", {c['executed']} executed" if report.executed or report.not_executed else ""
    also = "".join(f", {c[what]} {what}" for what in ("workloads", "solutions") if c[what])
    out.result(
        f"{c['definitions']} definitions{executed}{also}: "
        f"{c['errors']} errors, {c['warnings']} warnings ({report.dataset})"
    )
