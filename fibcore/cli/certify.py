"""`fibcore certify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.benchmarking.certificates.certificate import Certificate
    from fibcore.benchmarking.certificates.run import CertifyReport


@cli.command()
@options.chosen_definitions
@options.all_definitions
@options.device
@click.option("--seed", type=int, default=0, show_default=True, help="Of random inputs.")
@click.option("--limit", type=options.PositiveInt(), help="At most N workloads of a definition.")
@click.option(
    "--max-memory",
    type=options.Size(),
    default="256MiB",
    show_default=True,
    help="Leave out workloads whose inputs and outputs take more.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=options.Seconds(),
    default=1800.0,
    show_default="1800",
    help="End a workload's measurement after so long.",
)
@options.sglang
@options.common
def certify(out: Output, **given: Any) -> int:
    """Find tolerances that tell right kernels from wrong ones.

    Right and wrong implementations run on every workload. A definition is certified where one
    tolerance accepts the former and rejects the latter; where none does, the figures say why.
    """
    from fibcore.benchmarking.certificates.run import certify as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: CertifyReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    out.table(
        ("definition", "certified", "rtol", "atol", "ratio", "right", "wrong", "workloads"),
        [_row(certificate) for certificate in report.certificates],
    )
    for certificate in report.certificates:
        for reason in certificate.reasons:
            out.warn(f"not certified: {certificate.definition}: {reason}")
        for name, reason in certificate.left_out.items():
            out.line(f"  {certificate.definition}: left out: {name}: {reason}", level=1)
        for on in certificate.workloads:
            for tried in on.tried:
                share = "" if tried.missed is None else f", {tried.missed:.3%} missed"
                sizes = ", ".join(f"{name} {size}" for name, size in on.axes.items())
                out.line(
                    f"  {certificate.definition} ({sizes}): {tried.verdict}: {tried.name}{share}",
                    level=1,
                )
    for path in report.written:
        out.line(f"written: {report.dataset / path}")
    for problem in report.problems:
        out.warn(str(problem))
    count = sum(certificate.certified for certificate in report.certificates)
    out.result(f"{count} of {len(report.certificates)} definitions certified ({report.dataset})")


def _row(certificate: Certificate) -> tuple[object, ...]:
    tolerance = certificate.tolerance
    figures: tuple[object, ...] = ("", "", "")
    if tolerance is not None:
        ratio = f"{tolerance.required_matched_ratio:.6g}"
        figures = (f"{tolerance.rtol:.2g}", f"{tolerance.atol:.2g}", ratio)
    names = [(t.name, t.right) for on in certificate.workloads for t in on.tried]
    total = len(certificate.workloads) + len(certificate.not_tried)
    return (
        certificate.definition,
        "yes" if certificate.certified else "no",
        *figures,
        len({name for name, right in names if right}),
        len({name for name, right in names if not right}),
        f"{len(certificate.workloads)}/{total}",
    )
