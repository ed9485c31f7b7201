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
    from fibcore.extraction.modules import ModuleDetails


@cli.command()
@click.argument("name", required=False)
@options.model_constants
@click.option("--tp", type=options.PositiveInt(), help="Tensor-parallel size.")
@click.option("--ep", type=options.PositiveInt(), help="Expert-parallel size.")
@declared.launched
@click.option(
    "--tree",
    "path",
    metavar="PATH",
    help="Show what a matcher sees of the modules at a path, such as 'model.layers.0.*'.",
)
@options.sglang
@options.common
def models(out: Output, name: str | None, path: str | None, **given: Any) -> int:
    """List models, or show the module hierarchy of NAME, or of the model of a launch line.

    With --tree, single modules are shown whole: class, constructor arguments, attributes, calls,
    and where each stands in the source.
    """
    from fibcore.extraction import hierarchy as api

    if name is None and given["launch"] is None:
        alone = ("hf_repo_id", "config", "tp", "ep", "launch", "gpu")
        about_one = [path, *(given.pop(option) for option in alone)]
        if any(value is not None for value in about_one):
            raise click.UsageError(
                "--hf-repo-id, --config, --tp, --ep, --gpu and --tree need a NAME"
            )
        _print_models(api.models(progress=out.progress, **given), out)
        return 0
    if path is not None:
        return _show_modules(name or "", path, out, given)
    report = api.hierarchy(name or "", progress=out.progress, **given)
    _print_hierarchy(report, out)
    return report.exit_code


def _print_models(report: ModelsReport, out: Output) -> None:
    """Print the catalogue, and the model files of the source."""
    out.close()
    out.document(report.to_dict)
    out.table(
        ("slug", "Hub id", "architecture", "TP", "EP", "launch line from"),
        [
            (
                *(e.slug, e.hub_id, e.architecture, _list(e.tp), _list(e.ep)),
                e.launches[0].source if e.launches else "fibcore's default",
            )
            for e in report.catalogue
        ],
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


def _show_modules(name: str, path: str, out: Output, given: dict[str, Any]) -> int:
    from fibcore.extraction.modules import details
    from fibcore.extraction.one_model import tree as api

    tree = api(name, progress=out.progress, **given)
    found = details(tree, path)
    out.close()
    out.document(lambda: {"modules": [one.to_dict() for one in found]})
    for number, one in enumerate(found):
        if number:
            out.line()
        _print_module(one, out)
    for missing in tree.missing:
        out.warn(f"missing: {missing}")
    return 1 if tree.missing else 0


def _print_module(module: ModuleDetails, out: Output) -> None:
    """Print all that is known of a module."""
    out.result(module.path or "(the model)")
    out.result(f"  class         {module.cls}  {module.class_place}")
    out.result(f"  bases         {', '.join(module.bases)}")
    out.result(f"  constructed   {module.place}")
    if module.quantization:
        out.result(f"  quantisation  {module.quantization}")
    if module.idle:
        out.result("  never called")
    named = {"arguments": module.arguments, "attributes": module.attributes}
    for title, values in {**named, "children": module.children}.items():
        if values:
            out.result(f"  {title}")
            width = max(map(len, values))
            for name, value in values.items():
                out.result(f"    {name:{width}}  {value}")
    for title, texts in (("calls", module.calls), ("kernel calls", module.kernel_calls)):
        if texts:
            out.result(f"  {title}")
            for text in texts:
                out.result(f"    {text}")


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
