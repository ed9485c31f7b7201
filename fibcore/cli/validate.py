"""`fibcore validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output
from fibcore.validation.problems import CHECKS

if TYPE_CHECKING:
    from fibcore.validation.problems import ValidationProblem
    from fibcore.validation.report import ValidationReport

FOLDED = ("trace", "baseline")
"""Checks whose warnings are the same for every definition of a dataset that is not benchmarked."""


@cli.command()
@click.option("--op-type", multiple=True, metavar="T", help="Definitions of this op type only.")
@click.option("--definition-name", multiple=True, metavar="N", help="This definition only.")
@click.option(
    "--checks",
    type=options.Words(*CHECKS),
    default=(),
    metavar="C[,C...]",
    help="What to check: layout, definition, workload, solution, trace, baseline, benchmark, which "
    "runs baselines on a GPU.  [all but benchmark]",
)
@click.option("--disable-gpu", is_flag=True, help="Leave out the check benchmark.")
@click.option("--baseline-author", default="baseline", show_default=True, metavar="NAME")
@click.option("--execute", is_flag=True, help="Also run every reference on small inputs.")
@options.common
def validate(out: Output, **given: Any) -> int:
    """Check the dataset: layout, schema, references, tags, what benchmarks need.

    It says what flashinfer-bench's own validation says, and more.
    """
    from fibcore.validation.run import validate as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return 0 if report.ok else 1


def _print(report: ValidationReport, out: Output) -> None:
    """Print every problem of the dataset, and the counts."""
    out.close()
    out.document(report.to_dict)
    for problem, others in _folded(report):
        also = f"\n  likewise: {len(others)} more (--json has all)" if others else ""
        out.result(f"{problem}{also}")
    for name, reason in report.not_executed.items():
        out.line(f"not executed: {name}: {reason}")
    c = report.counts
    executed = f", {c['executed']} executed" if report.executed or report.not_executed else ""
    also = "".join(f", {c[what]} {what}" for what in ("workloads", "solutions") if c[what])
    out.result(
        f"{c['definitions']} definitions{executed}{also}: "
        f"{c['errors']} errors, {c['warnings']} warnings ({report.dataset})"
    )


def _folded(
    report: ValidationReport,
) -> list[tuple[ValidationProblem, list[ValidationProblem]]]:
    """The problems; of warnings that say one thing of many files, the first with the others."""
    groups: dict[object, list[ValidationProblem]] = {}
    for number, problem in enumerate(report.problems):
        alike = problem.severity == "warning" and problem.check in FOLDED
        groups.setdefault(problem.message if alike else number, []).append(problem)
    return [(first, others) for first, *others in groups.values()]
