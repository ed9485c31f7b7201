"""`fibcore add-workloads`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.benchmarking.workloads.report import AddWorkloadsReport

SHOWN = 5


@cli.command("add-workloads")
@options.chosen_definitions
@options.all_definitions
@click.option("--seed", type=int, default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--max-memory",
    type=options.Size(),
    default="16GiB",
    show_default=True,
    help="Leave out what takes more on a device, outputs included.",
)
@click.option("--limit", type=options.PositiveInt(), help="At most N workloads of a definition.")
@options.common
def add_workloads(out: Output, **given: Any) -> int:
    """Write realistic sizes for flashinfer-bench."""
    from fibcore.benchmarking.workloads.add import add_workloads as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: AddWorkloadsReport, out: Output) -> None:
    from fibcore.processes.sizes import format_size

    out.close()
    out.document(report.to_dict)
    for path in report.written:
        out.line(f"written: {report.dataset / path}")
    for path in report.unchanged:
        out.line(f"unchanged: {report.dataset / path}", level=0 if not report.written else 1)
    for name, count in report.kept.items():
        out.line(f"kept: {count} workloads of {name} that fibcore did not write")
    shown = report.left_out if out.verbosity > 0 else report.left_out[:SHOWN]
    for item in shown:
        out.line(f"left out: {item.definition}, {item.label}: {format_size(item.bytes)}")
    if len(shown) < len(report.left_out):
        out.line(f"left out: {len(report.left_out) - len(shown)} more (-v shows them)")
    for name, reason in report.without.items():
        out.warn(f"no workloads: {name}: {reason}")
    for problem in report.problems:
        out.warn(str(problem))
    out.result(
        f"{sum(report.workloads.values())} workloads of {len(report.workloads)} definitions, "
        f"{format_size(report.blob_bytes)} of tensors; {len(report.left_out)} sizes over "
        f"{format_size(report.max_memory)} left out ({report.dataset})"
    )
