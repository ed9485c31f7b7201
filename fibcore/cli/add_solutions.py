"""`fibcore add-solutions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.benchmarking.solutions import AddSolutionsReport


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


@cli.command("add-solutions")
@options.chosen_definitions
@options.all_definitions
@click.option("--author", default="baseline", show_default=True, help="Whose they are.")
@click.option(
    "--capability", type=Capability(), help="Only what runs on GPUs of this compute capability."
)
@click.option("--force", is_flag=True, help="Replace solutions that were edited.")
@options.common
def add_solutions(out: Output, **given: Any) -> int:
    """Write ground truths as solutions for flashinfer-bench."""
    from fibcore.benchmarking.solutions import add_solutions as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: AddSolutionsReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
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
