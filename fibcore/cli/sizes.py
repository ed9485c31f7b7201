"""`fibcore sizes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.reports.sizes import Size, SizesReport

_GIB = 2**30


@cli.command()
@click.argument("model_name", metavar="[MODEL]", required=False, default="")
@options.model_constants
@click.option("--tp", type=options.PositiveInts(), help="Ranks to try.  [default: 1,2,4,8,16]")
@click.option("--ep", type=options.PositiveInts(), help="Expert-parallel sizes to try.")
@click.option("--dp", type=options.PositiveInts(), help="Groups of attention to try.")
@declared.launched
@click.option("--gpu-memory", type=options.Size(), help="Memory of a GPU, such as 80G.")
@options.sglang
@options.common
def sizes(out: Output, **given: Any) -> int:
    """Show which TP, EP and attention-DP sizes a checkpoint can be served at, and why not others.

    MODEL is as for extract. Experts are tried whole and over all ranks, attention too. A launch
    line alone is tried as it stands; sizes beside it take the place of its own.
    """
    from fibcore.reports.sizes import sizes as api

    report = api(given.pop("model_name"), progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: SizesReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    out.line(report.slug)
    out.line(f"  {report.architecture}, constants from {report.constants}, {report.source}")
    columns = ("TP", "EP", "DP", "works", "weights GiB", "KV bytes/token", "tokens", "why not")
    out.table(columns, [_row(size) for size in report.sizes], indent=2)
    for line in dict.fromkeys(line for size in report.sizes for line in size.not_counted):
        out.line(f"  not counted: {line}")
    works = sum(size.works for size in report.sizes)
    out.result(f"{works} of {len(report.sizes)} choices work")


def _row(size: Size) -> tuple[object, ...]:
    why = "; ".join(size.reasons) + (f" ({size.where})" if size.where else "")
    return (
        size.tp,
        size.ep,
        size.dp,
        "yes" if size.works else "no",
        "" if size.weights is None else f"{size.weights / _GIB:.2f}",
        "" if size.kv_per_token is None else size.kv_per_token,
        "" if size.tokens is None else size.tokens,
        why,
    )
