"""`fibcore extract-kernel-definitions`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.extraction.report import ExtractReport, ModelReport, Remark

PATHS_SHOWN = 3


@cli.command("extract-kernel-definitions")
@click.option("--model-name", multiple=True, metavar="NAME", help="Model (repeatable).")
@options.model_constants
@declared.serving_sizes
@declared.launched
@options.sglang
@click.option("--dry-run", is_flag=True, help="Find everything, write nothing.")
@options.common
def extract(out: Output, **given: Any) -> int:
    """Derive kernel definitions of models (short: extract).

    NAME is an SGLang model file (llama), an architecture class, a slug of the catalogue
    (llama-3.1-8b) or a Hub id; with --config any slug. TP and EP default to how the catalogue
    says the model is served; --launch says all of that in SGLang's own words, and names the model
    where --model-name does not.
    """
    from fibcore.extraction.run import extract as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: ExtractReport, out: Output) -> None:
    """Print what was found in every model, shared kernels, and what is missing."""
    out.close()
    out.document(report.to_dict)
    print_models(report, out)
    c = report.counts
    kinds = ", ".join(
        f"{n} {kind}" for kind, n in c.items() if kind in set(report.outcomes.values())
    )
    out.result(f"{c['definitions']} definitions: {kinds or 'none'} ({_where(report)})")


def _where(report: ExtractReport) -> str:
    return f"dry run, nothing written to {report.dataset}" if report.dry_run else report.dataset


def print_models(report: ExtractReport, out: Output) -> None:
    """Print what was found in every model, shared kernels, and what is missing."""
    for model in report.models:
        _model(model, out)
        out.line()
    if report.shared:
        out.line("Shared kernels:")
        for name, models in report.shared.items():
            out.line(f"  {name}: [{', '.join(models)}]")
        out.line()
    for conflict in report.conflicts:
        out.line(f"conflict: {conflict}")
    for plugin in report.skipped_plugins:
        out.warn(f"plugin left out: {plugin}")
    for refused in report.refused:
        out.warn(f"refused: {refused}")
    for model in report.models:
        for error in model.errors:
            out.warn(f"{model.label}: {error}")
    for error in report.errors:
        out.warn(str(error))
    for failure in report.failures:
        out.warn(f"not complete: {failure}")


def _model(model: ModelReport, out: Output) -> None:
    out.line(model.label)
    out.line(f"  {model.architecture}, constants from {model.constants}, {model.source}")
    if model.served:
        out.line(f"  as served: {model.served}")
    if model.ignored:
        flags = ", ".join("--" + name.replace("_", "-") for name in model.ignored)
        out.line(f"  note: options of the launch that decide about no kernel: {flags}")
    for cls, keys in model.class_defaults.items():
        out.line(f"  from class defaults: {', '.join(keys)} ({cls})")
    out.table(
        ("op type", "definition", "outcome", "layers", "from"),
        [(k.op_type, k.name, k.outcome, k.layers, k.where) for k in model.kernels],
        indent=2,
    )
    for kernel in model.kernels:
        for note in kernel.notes:
            # By the derived name, which the table does not show where the dataset has another.
            out.line(f"  note: {kernel.kernel}: {note}")
        for path in kernel.paths:
            out.line(f"  {kernel.name}: {path}", level=1)
    for warning in model.warnings:
        out.line(f"  note: {warning}")
    _remarks("missing", model.missing, out)
    _remarks("undecided", model.problems, out)
    _remarks("no definition", model.not_covered, out)
    _remarks("moves data alone", model.moves, out)
    if model.unclaimed:
        classes = ", ".join(
            f"{name} ({', '.join((str(count), *model.covered_by.get(name, ())))})"
            for name, count in model.unclaimed.items()
        )
        out.line(f"  not covered by any installed plugin: {classes}")
        missing = sorted({one for several in model.covered_by.values() for one in several})
        if missing:
            out.line(f"  not installed or left out, and covering these: {', '.join(missing)}")


def _remarks(label: str, remarks: Iterable[Remark], out: Output) -> None:
    for remark in remarks:
        out.line(f"  {label}: {remark}")
        shown = remark.paths if out.verbosity > 0 else remark.paths[:PATHS_SHOWN]
        for path in shown:
            out.line(f"    {path}")
        if len(shown) < len(remark.paths):
            out.line(f"    and {len(remark.paths) - len(shown)} more (-v shows them)")
