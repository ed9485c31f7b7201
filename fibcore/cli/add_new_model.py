"""`fibcore add-new-model` and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.web import AddModelReport


@cli.command()
@click.option("--model-name", default="", metavar="NAME", help="Model.")
@click.option(
    "--web-dir",
    default=".",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The site's repository, or its models.ts.  [the current folder]",
)
@options.model_constants
@click.option("--tp", type=options.PositiveInts(), help="Tensor-parallel sizes, such as 1,8.")
@click.option("--ep", type=options.PositiveInts(), help="Expert-parallel sizes.")
@declared.options_with_several_values
@declared.launched
@options.sglang
@click.option("--display-name", metavar="TEXT", help="Name for people.  [that of the Hub id]")
@click.option("--description", metavar="TEXT", help="A sentence about the model.")
@click.option(
    "--counts",
    type=click.Choice(["model", "parent"]),
    default="model",
    show_default=True,
    help="Count modules in the whole model, or in each parent.",
)
@click.option("--prune", is_flag=True, help="Remove what the model does not have from its entry.")
@click.option("--dry-run", is_flag=True, help="Print the diff, write nothing.")
@options.common
def add_new_model(out: Output, **given: Any) -> int:
    """Add a model to the web site's apps/web/data/models.ts, or update its entry.

    Only the entry of this model changes. The diff is printed before anything is written.
    """
    from fibcore.web import add_new_model as api

    report = api(show=lambda diff: _print_diff(diff, out), progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print_diff(diff: str, out: Output) -> None:
    out.close()
    for line in diff.rstrip().split("\n"):
        out.line(line)


def _print(report: AddModelReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    change = report.change
    for note in report.notes:
        out.line(f"note: {note}")
    if change.removed:
        out.line(f"another hierarchy, removed: {', '.join(change.removed)}")
    for name, module in change.moved.items():
        out.line(f"moved, not of the model: {name} to {module} (--prune removes it)")
    if change.kept:
        out.line(f"kept, not in the model: {', '.join(change.kept)} (--prune removes them)")
    for module, names in change.kept_definitions.items():
        out.line(f"kept, not of the model: {module}: {', '.join(names)} (--prune removes them)")
    missing = report.not_in_dataset
    if missing:
        shown = missing if out.verbosity > 0 else missing[:3]
        more = f" and {len(missing) - len(shown)} more (-v)" if len(shown) < len(missing) else ""
        out.line(f"not in the dataset yet: {', '.join(shown)}{more}")
    for failure in report.failures:
        out.warn(f"not complete: {failure}")
    c = report.counts
    dry = "dry run, nothing written to " if report.dry_run else ""
    out.result(
        f"{report.model}: {change.kind}, {c['modules']} modules ({c['layers']} layers), "
        f"{c['definitions']} definitions ({dry}{report.path})"
    )
