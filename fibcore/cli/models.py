"""`fibcore models`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.extraction.hierarchy import HierarchyReport, ModelsReport


@cli.command()
@click.argument("name", required=False)
@options.model_constants
@click.option("--tp", type=options.PositiveInt(), help="Tensor-parallel size.")
@click.option("--ep", type=options.PositiveInt(), help="Expert-parallel size.")
@declared.launched
@options.sglang
@options.common
def models(out: Output, name: str | None, **given: Any) -> int:
    """List models, or show the module hierarchy of NAME, or of the model of a launch line."""
    from fibcore.extraction import hierarchy as api

    if name is None and given["launch"] is None:
        alone = ("hf_repo_id", "config", "tp", "ep", "launch", "gpu")
        about_one = [given.pop(option) for option in alone]
        if any(value is not None for value in about_one):
            raise click.UsageError("--hf-repo-id, --config, --tp, --ep and --gpu need a NAME")
        _print_models(api.models(progress=out.progress, **given), out)
        return 0
    report = api.hierarchy(name or "", progress=out.progress, **given)
    _print_hierarchy(report, out)
    return report.exit_code


def _print_models(report: ModelsReport, out: Output) -> None:
    """Print the catalogue, and the model files of the source."""
    out.close()
    out.document(report.to_dict)
    out.table(
        ("slug", "Hub id", "architecture", "TP", "EP"),
        [(e.slug, e.hub_id, e.architecture, _list(e.tp), _list(e.ep)) for e in report.catalogue],
        title="Models whose constants are built in",
    )
    out.line()
    if not report.files:
        out.line(f"No SGLang source: {report.source}")
        return
    out.table(
        ("file", "architectures"),
        [(name, ", ".join(classes)) for name, classes in report.files.items()],
        title=f"Model files of {report.source}",
    )


def _list(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def _print_hierarchy(report: HierarchyReport, out: Output) -> None:
    """Print a model's modules as an indented tree, repeated layers once."""
    out.close()
    out.document(report.to_dict)
    out.line(f"{report.slug} (TP {report.tp}, EP {report.ep})")
    out.line(f"{report.architecture}, constants from {report.constants}, {report.source}")
    if report.served:
        out.line(f"as served: {report.served}")
    for row in report.rows:
        count = f" x{row.count}" if row.count > 1 else ""
        place = f"  {row.place}" if out.verbosity > 0 else ""
        out.result(f"{'  ' * row.depth}{row.name} {row.cls}{count}{place}")
    for missing in report.missing:
        out.warn(f"missing: {missing}")
