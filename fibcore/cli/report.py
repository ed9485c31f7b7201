"""`fibcore report`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.reports.dataset import DatasetReport


@cli.command()
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The page.  [default: reports/index.html of the dataset]",
)
@click.option("--steps", is_flag=True, help="Show what steps of the models launch, with pictures.")
@click.option("--gpu", multiple=True, metavar="NAME", help="GPU of steps (repeatable).  [all]")
@options.sglang
@options.common
def report(out: Output, **given: Any) -> int:
    """Write one HTML page of the dataset, to search and filter.

    The page is one file that needs no network. Files of the dataset that are broken are listed on
    it, and the exit status is 1 then.
    """
    from fibcore.reports.dataset import report as api

    done = api(progress=out.progress, **given)
    _print(done, out)
    return done.exit_code


def _print(report: DatasetReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    c = report.counts
    kinds = ("workloads", "solutions", "evaluations")
    out.line(", ".join(f"{c[kind]} {kind}" for kind in kinds))
    if report.certificates:
        states = Counter(one.state for one in report.certificates)
        out.line("certificates: " + ", ".join(f"{n} {s}" for s, n in sorted(states.items())))
    for name in report.strangers:
        out.line(f"note: the dataset lacks the definition {name}, and has files about it")
    for one in report.impossible:
        out.warn(f"impossible: {one.words}")
    for problem in report.problems:
        out.warn(f"broken: {problem}")
    out.result(
        f"{'written' if report.changed else 'unchanged'}: {report.output} "
        f"({c['definitions']} definitions of {c['op types']} op types and {c['models']} models, "
        f"{c['verified']} verified)"
    )
