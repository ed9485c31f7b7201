"""`fibcore add-reference-tests`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.verification import AddTestsReport


@cli.command("add-reference-tests")
@options.chosen_definitions
@click.option(
    "--definitions-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="All definitions in a folder.",
)
@options.all_definitions
@click.option("--tolerance", type=options.Tolerance(), help="rtol and atol in place of defaults.")
@click.option(
    "--per-definition", is_flag=True, help="One test_<definition>.py each, not one an op type."
)
@click.option("--force", is_flag=True, help="Replace test files that were edited.")
@options.common
def add_reference_tests(out: Output, **given: Any) -> int:
    """Write reference tests (short: add-tests)."""
    from fibcore.verification import add_reference_tests as api

    report = api(progress=out.progress, **given)
    out.close()
    out.document(report.to_dict)
    print_tests(report, out)
    for problem in report.problems:
        out.warn(str(problem))
    return report.exit_code


def print_tests(report: AddTestsReport, out: Output) -> None:
    """Print which test files were written."""
    for path in report.written:
        out.line(f"written: {report.dataset / path}")
    for path in report.unchanged:
        out.line(f"unchanged: {report.dataset / path}", level=0 if not report.written else 1)
    for refusal in report.refused:
        out.warn(f"kept: {report.dataset / refusal.path}: {refusal.reason}")
    for name, truths in report.ground_truths.items():
        out.line(f"  {name}: {', '.join(truths) or 'no ground truth'}", level=1)
