"""`fibcore import-workloads`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.benchmarking.recorded import ImportWorkloadsReport


@cli.command("import-workloads")
@click.argument("dump", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--definition-name", multiple=True, metavar="N", help="This definition only.")
@click.option(
    "--limit",
    type=options.PositiveInt(),
    default=32,
    show_default=True,
    help="Different workloads of a definition at most, evenly from small to large.",
)
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The server's log, of which what says how it served is kept, sanitised.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@options.common
def import_workloads(out: Output, dump: Path, **given: Any) -> int:
    """Add workloads of a real run, as FlashInfer logged its inputs in DIR.

    Sizes, offsets, page numbers and scalars are kept, no activations, weights or tokens. Log with
    FLASHINFER_LOGLEVEL=10 FLASHINFER_DUMP_SAFETENSORS=1 FLASHINFER_DUMP_DIR=DIR.
    """
    from fibcore.benchmarking.recorded import import_workloads as api

    report = api(dump, progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: ImportWorkloadsReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    for one in report.definitions:
        out.line(
            f"{one.definition}: {one.workloads} workloads of {one.calls} calls, {one.added} new"
        )
    for reason, calls in report.skipped.items():
        out.line(f"skipped: {calls} calls of {reason}")
    for error in report.refused:
        out.warn(f"refused: {error}")
    total = sum(one.added for one in report.definitions)
    note = " (dry run)" if report.dry_run else ""
    out.result(f"{total} workloads of {len(report.definitions)} definitions{note}")
