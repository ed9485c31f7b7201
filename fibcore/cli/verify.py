"""`fibcore verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.verification import DefinitionResult, VerifyReport


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

    ended: list[DefinitionResult] = []
    try:
        report = api(progress=out.progress, finished=ended.append, **given)
    except KeyboardInterrupt:
        out.close(broken=True)
        out.warn(f"The tests of {len(ended)} definitions had ended; that is recorded.")
        raise
    _print(report, out)
    return report.exit_code


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
