"""`fibcore explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output
from fibcore.model.launch import DEFAULT_GPU

if TYPE_CHECKING:
    from fibcore.dataset.explanation import Explanation


@cli.command()
@click.argument("name")
@options.common
def explain(out: Output, name: str, **given: Any) -> int:
    """Show where the numbers of definition NAME come from."""
    from fibcore.dataset.explanation import explain as api

    _print(api(name, progress=out.progress, **given), out)
    return 0


def _print(report: Explanation, out: Output) -> None:
    """Print where each number of a definition comes from, model by model."""
    out.close()
    out.document(report.to_dict)
    definition = report.definition
    out.result(f"{definition.name} ({definition.op_type})")
    if definition.description:
        out.line(definition.description)
    out.line(f"tags: {', '.join(definition.tags)}")
    if report.provenance is None:
        sizes = ", ".join(f"{name} = {size}" for name, size in definition.const_axes.items())
        out.result(f"constants: {sizes or 'none'}")
        out.result("No provenance is recorded: fibcore did not extract this definition.")
        return
    for entry in report.to_dict()["provenance"]:
        sizes = f"TP {entry['tp']}, EP {entry['ep']}"
        if entry["launch"]:
            sizes += f", {entry['launch']}"
        if entry["gpu"] != DEFAULT_GPU:
            sizes += f", {entry['gpu']}"
        out.result(
            f"\n{entry['model']} ({entry['architecture']}, {sizes}, "
            f"sglang {entry['source_version'] or 'of unknown version'})"
        )
        for name, constant in entry["constants"].items():
            origins = ", ".join(constant["origins"]) or "the source text"
            note = f" ({constant['note']})" if constant["note"] else ""
            out.result(f"  {name} = {constant['value']}: {origins}{note}, {constant['place']}")
        out.result(f"  {entry['layers']} {'layer' if entry['layers'] == 1 else 'layers'}:")
        for group in entry["uses"]:
            out.result(
                f"    {group['paths']}  {group['class'].rpartition('.')[2]}  {group['place']}"
            )
    for file in report.provenance.imports:
        apis = f" ({', '.join(file.fi_apis)})" if file.fi_apis else ""
        model = f" for {file.model}" if file.model else ""
        out.result(f"\nimported{model} from {file.file}{apis}, sha256 {file.sha256[:12]}")
        for repair in file.repairs:
            out.line(f"  repaired: {repair}")
    for difference in report.to_dict()["differing"]:
        out.result(f"\nmodels differ: {difference}; the definition has the first one's")
