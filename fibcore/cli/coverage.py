"""`fibcore coverage`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.reports.coverage import CoverageReport

COMMANDS_SHOWN = 6


@cli.command()
@click.option(
    "--model-name",
    multiple=True,
    metavar="NAME",
    help="Model (repeatable).  [default: the dataset's, or the page's]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take the config from this config.json.",
)
@declared.serving_sizes
@declared.launched
@options.sglang
@click.option(
    "--check",
    metavar="PAGE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Hold a hand-kept page in Markdown against the source.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the pages go.  [default: reports of the dataset; with --check nowhere]",
)
@click.option("--dry-run", is_flag=True, help="Write no page.")
@options.common
def coverage(out: Output, **given: Any) -> int:
    """Say which definitions that models need are there, verified and benchmarked.

    Writes coverage.md, coverage.html and coverage.json, with the commands that add what is missing.
    With --check, what a hand-kept page says and the source contradicts is printed line by line, and
    the exit status is 1 then.
    """
    from fibcore.reports.coverage import coverage as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: CoverageReport, out: Output) -> None:
    from fibcore.reports.coverage.report import STEPS
    from fibcore.reports.launches import SHARE_COLUMNS, share_cells

    out.close()
    out.document(report.to_dict)
    out.table(
        ("model", "served at", "needed", *STEPS),
        [(m.slug, "; ".join(m.servings), *m.counts.values()) for m in report.models],
    )
    out.table(
        ("model", *SHARE_COLUMNS[:4]),
        [(m.slug, *share_cells(step)[:4]) for m in report.models for step in m.steps],
    )
    for model in report.models:
        if model.recorded:
            out.line(f"note: {model.slug} could not be extracted; the dataset's records stand in")
        for op in model.uncovered:
            out.line(f"{model.slug}: no definition: {op.what} ({op.layers}): {op.reason}", level=1)
    for name, models in report.unneeded.items():
        out.line(f"note: {', '.join(models)} does not need {name}, which carries its tag")
    if report.page is None:
        _commands(report, out)
    for refused in report.refused:
        out.warn(f"refused: {refused}")
    for model in report.models:
        for remark in model.partial:
            out.warn(f"not complete: {model.slug}: {remark}")
    for problem in report.problems:
        out.warn(f"broken: {problem}")
    for unchecked in report.unchecked:
        out.line(f"not checked: line {unchecked.line}: {unchecked.says}: {unchecked.reason}")
    for wrong in report.contradictions:
        about = f"{wrong.model}: " if wrong.model else ""
        out.result(
            f"{report.page}:{wrong.line}: {about}{wrong.kind}\n"
            f"  says: {wrong.says}\n  derived: {wrong.derived}\n  from: {wrong.source}"
        )
    for path in report.written:
        out.line(f"{'written' if path in report.changed else 'unchanged'}: {path}")
    c = report.counts
    if report.page is not None:
        out.result(
            f"{report.page}: {len(report.contradictions)} contradictions in {report.checked} "
            f"statements that were checked, {len(report.unchecked)} not checked"
        )
    else:
        out.result(
            f"{c['needed']} definitions needed: {c['definition']} there, {c['verified']} verified, "
            f"{c['workloads']} with workloads, {c['baseline']} with a baseline, "
            f"{c['benchmarks']} benchmarked"
        )


def _commands(report: CoverageReport, out: Output) -> None:
    commands = list(dict.fromkeys(c for model in report.models for c in model.commands))
    if not commands:
        return
    shown = commands if out.verbosity > 0 else commands[:COMMANDS_SHOWN]
    out.line("What adds the rest:")
    for command in shown:
        out.line(f"  {command}")
    if len(shown) < len(commands):
        out.line(f"  and {len(commands) - len(shown)} more (-v and coverage.md show them)")
