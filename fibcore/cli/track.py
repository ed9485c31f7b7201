"""`fibcore track`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.onboarding import TrackReport


@cli.command()
@click.option(
    "--model-name",
    multiple=True,
    metavar="NAME",
    help="Model whose kernels are looked at (repeatable).  [the dataset's]",
)
@click.option("--since", metavar="SRC", help="An older SGLang source: what is new beside it.")
@declared.serving_sizes
@declared.launch_line
@options.sglang
@options.common
def track(out: Output, **given: Any) -> int:
    """Compare a SGLang release with the dataset: new models, new kernels.

    Architectures count as new that no definition of the dataset comes from, and with --since those
    of them alone that the older source lacks. Kernels are those that the dataset's models need at
    this release and the dataset does not have.
    """
    from fibcore.onboarding import track as api

    report = api(given.pop("model_name"), progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: TrackReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    out.table(
        ("new architecture", "file", "models of the catalogue"),
        [(m.architecture, m.file, ", ".join(m.slugs)) for m in report.models],
    )
    out.table(
        ("missing kernel", "op type", "model", "where"),
        [(k.kernel, k.op_type, k.model, k.where) for k in report.kernels],
    )
    for refused in report.refused:
        out.warn(f"refused: {refused.label}: {refused.error.message}")
    since = f" since {report.since}" if report.since else ""
    out.result(
        f"{report.source}: {len(report.models)} new architectures{since}, "
        f"{len(report.kernels)} missing kernels ({report.dataset})"
    )
