"""`fibcore step`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.reports.step import Step, StepKernel, StepReport


@cli.command()
@click.option("--model-name", multiple=True, metavar="NAME", help="Model (repeatable).")
@options.model_constants
@declared.serving_sizes
@declared.launch_line
@click.option(
    "--batch", type=options.PositiveInt(), default=64, show_default=True, help="Decode sequences."
)
@click.option(
    "--keys", type=options.PositiveInt(), default=2048, show_default=True, help="Keys of each."
)
@click.option(
    "--prefill-tokens",
    type=options.PositiveInt(),
    default=8192,
    show_default=True,
    help="Tokens of a prefill.",
)
@click.option(
    "--prefill-sequences",
    type=options.PositiveInt(),
    default=4,
    show_default=True,
    help="Sequences that they are of.",
)
@click.option("--gpu", multiple=True, metavar="NAME", help="GPU (repeatable).  [default: all]")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page in HTML, with pictures.",
)
@options.sglang
@options.common
def step(out: Output, **given: Any) -> int:
    """Show what a decode and a prefill step launch, kernel by kernel, and what they take at least.

    Kernels are those of one rank, in the order in which the forward pass comes to them.
    """
    from fibcore.reports.step import step as api

    report = api(given.pop("model_name"), progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: StepReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    for model in report.models:
        for one in model.steps:
            _step(f"{model.label}, {one.stage}: {one.batch}", one, report, out)
        for remark in model.partial:
            out.warn(f"not complete: {model.label}: {remark}")
    for refused in report.refused:
        out.warn(f"refused: {refused}")
    if report.output:
        out.line(f"written: {report.output}")


def _step(title: str, one: Step, report: StepReport, out: Output) -> None:
    gpus = report.gpus
    times = (f"{gpu} \u00b5s" for gpu in gpus)
    columns = ("kernel", "launches", "GFLOP", "MB", *times, "share", "bound by")
    out.table(columns, [_row(kernel, gpus) for kernel in one.kernels], title=title)
    floors = ", ".join(f"{gpu} {1e3 * one.floors[gpu]:.3g} ms" for gpu in gpus)
    out.result(f"{one.launches} launches, at least {floors}")
    if one.advice:
        out.result(f"first: {one.advice}")
    out.line()


def _row(kernel: StepKernel, gpus: tuple[str, ...]) -> tuple[object, ...]:
    if kernel.flops is None or kernel.bytes is None:
        return (kernel.what, kernel.count, *[""] * (3 + len(gpus)), kernel.state)
    return (
        kernel.what,
        kernel.count,
        f"{kernel.flops / 1e9:.4g}",
        f"{kernel.bytes / 1e6:.4g}",
        *(f"{1e6 * kernel.floors[gpu]:.4g}" for gpu in gpus),
        f"{kernel.share:.1%}",
        kernel.bound if kernel.state == "defined" else f"{kernel.state}, weights alone",
    )
