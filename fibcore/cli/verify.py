"""`fibcore verify`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.verification import DefinitionResult, VerifyReport

STEP = "running the tests"


@cli.command()
@click.option("--op-type", multiple=True, metavar="T", help="Definitions of this op type only.")
@click.option("--definition-name", multiple=True, metavar="N", help="This definition only.")
@options.device
@click.option("--tolerance", type=options.Tolerance(), help="rtol and atol of the tests.")
@click.option("--sglang", metavar="SRC", help="SGLang source.  [the one in the target dir]")
@options.evidence
@options.workers
@options.rerun
@options.common
def verify(out: Output, **given: Any) -> int:
    """Run reference tests, record evidence, set status tags.

    Each definition's tests run in a worker process. One that crashes, hangs or takes too much
    memory fails alone. Evidence is written as definitions end: what an interrupted call found is
    kept.
    """
    from fibcore.verification import verify as api

    display = TestsDisplay(out)
    try:
        report = api(progress=display.progress, finished=display.finished, **given)
    except KeyboardInterrupt:
        out.warn(f"The tests of {display.done} definitions had ended; that is recorded.")
        raise
    _print(report, out)
    return report.exit_code


class TestsDisplay:
    """Shows how far the tests are: a bar on a terminal, a line for each definition elsewhere."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.done = 0
        self.total = 0
        if sys.stderr.isatty():
            out.progress(STEP)

    def progress(self, _: str, done: float | None, total: float | None) -> None:
        """Show how many definitions' tests have ended."""
        self.done, self.total = int(done or 0), int(total or 0)
        if sys.stderr.isatty():
            self.out.progress(STEP, done, total)

    def finished(self, result: DefinitionResult) -> None:
        """Show what came of the tests of the definition that ended last."""
        if not sys.stderr.isatty():
            took = "" if result.seconds is None else f"{result.seconds:.1f} s, "
            how = "as before, nothing changed" if result.unchanged else f"{took}{result.worker}"
            self.out.note(f"[{self.done}/{self.total}] {result.name}: {result.outcome} ({how})")


def _print(report: VerifyReport, out: Output) -> None:
    """Print what the tests said of every definition."""
    out.close()
    out.document(report.to_dict)
    print_verified(report, out)
    out.result(
        f"tests: {report.passed} passed, {report.skipped} skipped, {report.failed} failed; "
        f"{len(report.verified)} of {len(report.definitions)} definitions verified"
    )


def print_verified(report: VerifyReport, out: Output) -> None:
    """Print what the tests said of every definition."""
    out.table(
        ("definition", "status", "passed", "skipped", "failed", "agrees with"),
        [
            (
                d.name,
                "verified" if d.verified else "unverified",
                d.passed,
                d.skipped,
                d.failed,
                ", ".join(d.ground_truths) or "; ".join(d.reasons),
            )
            for d in report.definitions
        ],
    )
    for d in report.definitions:
        if d.seconds is not None:
            amounts = [f"{d.seconds:.1f} s"]
            for what, size in (("memory", d.memory_bytes), ("GPU memory", d.gpu_memory_bytes)):
                amounts += [f"{size / 2**30:.1f} GiB of {what}"] if size else []
            out.line(f"  {d.name}: {', '.join(amounts)} ({d.worker})", level=1)
    same = sum(d.unchanged for d in report.definitions)
    if same:
        out.line(
            f"  {same} of {len(report.definitions)} definitions are unchanged since their tests"
            " ran; --force runs them again"
        )
    for reason, count in report.skip_reasons.items():
        out.line(f"  skipped {count}: {reason}")
    for definition in report.definitions:
        for failure in definition.failures:
            out.warn(f"failed: {failure.test}\n{failure.message}")
    for broken in report.broken:
        out.warn(f"broken: {broken.test}: {broken.message}")
    for problem in report.problems:
        out.warn(str(problem))
