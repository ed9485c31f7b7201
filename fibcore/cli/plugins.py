"""`fibcore plugins`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.ops.listing import PluginsReport


@cli.command()
@options.common
def plugins(out: Output, **given: Any) -> int:
    """List the plugins and their op types."""
    from fibcore.workspace import plugins as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: PluginsReport, out: Output) -> None:
    """Print the plugins and their op types."""
    out.close()
    out.document(report.to_dict)
    out.table(
        ("plugin", "distribution", "version", "status", "op types"),
        [
            (p.name, p.distribution or "", p.version or "", p.status, ", ".join(p.op_types))
            for p in report.plugins
        ],
    )
    out.line()
    out.table(
        ("op type", "plugin", "what it is"),
        [(o.name, o.plugin, o.description) for o in report.op_types],
    )
    if report.exit_code:
        out.warn("no plugin is in use; pip install 'fibcore[ops]' installs fibcore's own")
    for plugin in report.plugins:
        if plugin.status == "skipped":
            out.warn(f"left out: {plugin.label}: {plugin.cause}: {plugin.reason}")
