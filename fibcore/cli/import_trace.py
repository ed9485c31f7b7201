"""`fibcore import-trace`: the command and its printing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.traces import ImportReport


@cli.command()
@click.argument("trace", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--model-name", metavar="SLUG", help="Model that was traced, for its tag.")
@click.option("--op-type", multiple=True, metavar="T", help="This op type only (repeatable).")
@click.option("--execute", is_flag=True, help="Also run every reference on small inputs.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, write nothing.")
@options.common
def import_trace(out: Output, trace: Path, **given: Any) -> int:
    """Repair what FlashInfer's tracing wrote to DIR, and add it to the dataset.

    Kernels that the dataset has get the tags and stay; others come in unverified. A file that
    cannot be repaired without a guess is refused with its place and reason, and the exit status
    is 1 then. Nothing that is read is run, unless --execute asks for it.
    """
    from fibcore.traces import import_trace as api

    report = api(trace, progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: ImportReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    for kernel in report.kernels:
        executed = f" (run on {kernel.executed} inputs)" if kernel.executed is not None else ""
        out.line(f"{kernel.file}: {kernel.message}{executed}")
        for repair in kernel.repairs:
            out.line(f"  repaired: {repair}")
        for note in kernel.notes:
            out.line(f"  note: {note}")
    for error in report.refused:
        out.warn(f"refused: {error}")
    for error in report.errors:
        out.warn(str(error))
    c = report.counts
    kinds = ", ".join(
        f"{c[kind]} {kind}" for kind in dict.fromkeys(k.outcome for k in report.kernels)
    )
    executed = f", {c['executed']} executed" if c["executed"] else ""
    skipped = f", {c['skipped']} of other op types" if c["skipped"] else ""
    where = f"dry run, nothing written to {report.dataset}" if report.dry_run else report.dataset
    out.result(
        f"{c['imported']} imported{f': {kinds}' if kinds else ''}, {c['repairs']} repairs"
        f"{executed}; {c['refused']} refused{skipped} ({where})"
    )
