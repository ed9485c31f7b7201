"""`fibcore cost`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.benchmarking.costs import CostReport, Measured, WorkloadCost


class Sizes(options.PositiveInts):
    """Sizes of axes: `M=4096` or `batch_size=64,len_indptr=65`."""

    name = "AXIS=N[,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The sizes by axis; a usage error where a part is none."""
        if isinstance(value, dict):
            return value
        sizes = {}
        for part in str(value).split(","):
            axis, _, size = part.strip().partition("=")
            (sizes[axis],) = super().convert(size, param, ctx)
        return sizes


@cli.command()
@click.argument("folder", metavar="[DATASET]", required=False, type=click.Path(path_type=Path))
@options.chosen_definitions
@click.option(
    "--gpu",
    multiple=True,
    metavar="NAME",
    help="H100, H200 or B200 (repeatable).  [default: all]",
)
@click.option("--axes", type=Sizes(), help="These sizes, in place of the dataset's workloads.")
@options.common
def cost(out: Output, folder: Path | None, **given: Any) -> int:
    """Count operations and bytes of workloads, and the time a GPU needs at least.

    Times in the dataset's traces that are below what their GPU can do are impossible; the exit
    status is 1 then.
    """
    from fibcore.benchmarking.costs import cost as api

    report = api(folder, progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: CostReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    if report.workloads:
        gpus = (gpu.name for gpu in report.gpus)
        columns = ("definition", "GFLOP", "MB", *gpus, "bound", "sizes")
        out.table(columns, [_row(one) for one in report.workloads])
    for text in sorted({one.cost.assumes for one in report.workloads if one.cost.assumes}):
        out.line(f"~ if {text}")
    if report.measured:
        rows = [_time(one) for one in report.measured]
        out.table(("definition", "measured", "floor", "share", "solution", "sizes"), rows)
    for gpu in report.gpus:
        if gpu.note and report.workloads:
            out.line(f"{gpu.name}: {gpu.note}")
    for name, reason in report.without.items():
        out.line(f"left out: {name}: {reason}", level=1)
    if report.without and out.verbosity < 1:
        out.line(f"left out: {len(report.without)} definitions without workloads (-v names them)")
    for measured in report.impossible:
        out.warn(f"impossible: {measured.words}")
    for problem in report.problems:
        out.warn(str(problem))
    out.result(
        f"{len(report.workloads)} workloads, {len(report.measured)} measured times, "
        f"{len(report.impossible)} of them impossible ({report.dataset})"
    )


def _row(one: WorkloadCost) -> tuple[str, ...]:
    about = "~" if one.cost.assumes else ""
    first = next(iter(one.floors.values()))
    return (
        one.definition,
        f"{about}{one.cost.flops / 1e9:.4g}",
        f"{about}{one.cost.bytes_moved / 1e6:.4g}",
        *(f"{about}{_milliseconds(floor.seconds)}" for floor in one.floors.values()),
        first.bound,
        _sizes(one.axes),
    )


def _time(one: Measured) -> tuple[str, ...]:
    floor = "GPU unknown" if one.floor is None else _milliseconds(one.floor.seconds)
    share = "" if one.share is None else f"{one.share:.1%}"
    return (
        one.definition,
        _milliseconds(one.latency_ms / 1000),
        floor,
        "impossible" if one.impossible else share,
        one.solution.removesuffix(f"__{one.definition}"),
        _sizes(one.axes),
    )


def _sizes(axes: Any) -> str:
    return ", ".join(f"{name} {size}" for name, size in axes.items())


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.4g} ms"
