"""`fibcore list`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.reports.listing import ListReport

STATUSES = ("verified", "failed", "outdated", "unverified")


@cli.command("list")
@click.option("--op-type", multiple=True, metavar="T", help="This op type only (repeatable).")
@click.option("--model-name", multiple=True, metavar="M", help="Of this model only (repeatable).")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(STATUSES),
    help="Of this status only (repeatable).",
)
@options.common
def list_(out: Output, **given: Any) -> int:
    """List definitions with status, models, tests, workloads and baselines.

    The status is what the recorded test runs say of the present reference.
    """
    from fibcore.reports.listing import list as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: ListReport, out: Output) -> None:
    """Print a row for each definition."""
    out.close()
    out.document(report.to_dict)
    for problem in report.problems:
        out.warn(str(problem))
    found = report.definitions
    out.table(
        ("op type", "definition", "status", "tests", "workloads", "baselines", "models"),
        [
            (
                row.op_type,
                row.name,
                row.status,
                row.tests,
                row.workloads,
                len(row.baselines),
                _few(row.models),
            )
            for row in found
        ],
    )
    statuses = Counter(row.status for row in found)
    said = ", ".join(f"{statuses[name]} {name}" for name in STATUSES if statuses[name])
    of = "" if len(found) == report.total else f" of {report.total}"
    out.result(f"{len(found)}{of} definitions{f': {said}' if said else ''} ({report.dataset})")


def _few(names: tuple[str, ...]) -> str:
    """Two names at most: how many more there are."""
    more = len(names) - 2
    return ", ".join(names[:2]) + (f" and {more} more" if more > 0 else "")
