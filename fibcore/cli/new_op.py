"""`fibcore new-op`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.scaffolding import NewOpReport


@cli.command()
@click.argument("name")
@click.option(
    "--directory",
    default=".",
    show_default=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder in which op_NAME is made.",
)
@options.common
def new_op(out: Output, name: str, directory: Path, **given: Any) -> int:
    """Write a plugin for a new op type NAME, which works, for you to change.

    It is a distribution op_NAME with matcher, reference, ground truths, test template, workloads
    and tests, for an example. What to put in its place is marked "Yours" in the files.
    """
    from fibcore.scaffolding import new_op as api

    _print(api(name, directory=directory, progress=out.progress, **given), out)
    return 0


def _print(report: NewOpReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    out.result(f"{report.folder}: {report.distribution}, {len(report.files)} files")
    folder = shlex.quote(str(report.folder))
    out.line("Next:")
    out.line(f"  pip install --editable {folder}")
    out.line("  fibcore plugins")
    out.line(f"  pytest {folder}")
    out.line(f"  grep -rn Yours {folder}    # what to change")
