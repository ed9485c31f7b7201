"""The commands that prepare a dataset for flashinfer-bench: workloads and baseline solutions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.commands import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.benchmarking.solutions import AddSolutionsReport
    from fibcore.benchmarking.workloads.report import AddWorkloadsReport

SHOWN = 5


class Capability(click.ParamType):  # type: ignore[type-arg]
    """A CUDA compute capability: `9.0`."""

    name = "X.Y"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """`value` as (major, minor); a usage error where it is none."""
        if isinstance(value, tuple):
            return value
        major, dot, minor = str(value).partition(".")
        if not (
            dot and major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()
        ):
            self.fail(f"expected a compute capability such as 9.0; found {value!r}", param, ctx)
        return int(major), int(minor)


@cli.command("add-workloads")
@click.option("--op-type", multiple=True, metavar="T", help="All definitions of an op type.")
@click.option("--definition-name", multiple=True, metavar="N", help="One definition.")
@click.option("--all", "all_", is_flag=True, help="All definitions of the dataset.")
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
def add_workloads(
    out: Output,
    target_dir: Path,
    dataset: Path | None,
    disable_plugin: tuple[str, ...],
    **given: Any,
) -> int:
    """Write realistic sizes for flashinfer-bench."""
    from fibcore.benchmarking.workloads.add import add_workloads as api
    from fibcore.extraction.run import dataset_folder
    from fibcore.ops.registry import load_plugins

    report = api(
        dataset=dataset_folder(target_dir, dataset),
        registry=load_plugins(disable=disable_plugin),
        progress=out.progress,
        **given,
    )
    _print_workloads(report, out)
    return report.exit_code


@cli.command("add-solutions")
@click.option("--op-type", multiple=True, metavar="T", help="All definitions of an op type.")
@click.option("--definition-name", multiple=True, metavar="N", help="One definition.")
@click.option("--all", "all_", is_flag=True, help="All definitions of the dataset.")
@click.option(
    "--capability", type=Capability(), help="Only what runs on GPUs of this compute capability."
)
@click.option("--force", is_flag=True, help="Replace solutions that were edited.")
@options.common
def add_solutions(
    out: Output,
    target_dir: Path,
    dataset: Path | None,
    disable_plugin: tuple[str, ...],
    **given: Any,
) -> int:
    """Write ground truths as solutions for flashinfer-bench."""
    from fibcore.benchmarking.solutions import add_solutions as api
    from fibcore.extraction.run import dataset_folder
    from fibcore.ops.registry import load_plugins

    report = api(
        dataset=dataset_folder(target_dir, dataset),
        registry=load_plugins(disable=disable_plugin),
        **given,
    )
    _print_solutions(report, out)
    return report.exit_code


def _print_workloads(report: AddWorkloadsReport, out: Output) -> None:
    from fibcore.processes.sizes import format_size

    out.close()
    out.document(report.to_dict())
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


def _print_solutions(report: AddSolutionsReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict())
    for path in report.written:
        out.line(f"written: {report.dataset / path}")
    for path in report.unchanged:
        out.line(f"unchanged: {report.dataset / path}", level=0 if not report.written else 1)
    for name, reasons in report.left_out.items():
        for truth, reason in reasons.items():
            out.line(f"left out: {name}: {truth}: {reason}", level=1)
    for refusal in report.refused:
        out.warn(f"kept: {report.dataset / refusal.path}: {refusal.reason}")
    for name in report.without:
        why = "; ".join(f"{t}: {r}" for t, r in report.left_out.get(name, {}).items())
        out.warn(f"no solution: {name}: {why or 'nothing independent is known'}")
    for problem in report.problems:
        out.warn(str(problem))
    count = sum(len(names) for names in report.solutions.values())
    out.result(f"{count} solutions of {len(report.solutions)} definitions ({report.dataset})")
