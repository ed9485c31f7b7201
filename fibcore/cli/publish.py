"""`fibcore publish` and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.publishing import PublishReport

SHOWN = 20


@cli.command()
@click.option(
    "--repo-id", metavar="ID", help="Dataset on the Hub.  [the one that the folder is a clone of]"
)
@click.option("--revision", metavar="REV", help="Branch, or refs/pr/N.  [main]")
@click.option(
    "--pr/--no-pr",
    "pull_request",
    default=True,
    show_default=True,
    help="Open a pull request, or commit to the revision itself.",
)
@click.option("--message", metavar="TEXT", help="First line of the message.")
@click.option(
    "--reports/--no-reports",
    default=True,
    show_default=True,
    help="Publish provenance and evidence of tests too.",
)
@click.option("--delete", is_flag=True, help="Remove from the Hub what was removed here.")
@click.option("--overwrite", is_flag=True, help="Undo changes of others where files differ.")
@click.option(
    "--dry-run/--yes", "dry_run", default=True, help="Say what would be sent; or send it."
)
@options.common
def publish(out: Output, dry_run: bool, **given: Any) -> int:
    """Publish the dataset on the Hugging Face Hub: a pull request with what changed.

    Nothing is sent without --yes. The token is the one that huggingface_hub finds: HF_TOKEN, or
    that of `hf auth login`.
    """
    from fibcore.publishing import publish as api

    report = api(yes=not dry_run, progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: PublishReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    target = report.repo_id + (f"@{report.revision}" if report.revision else "")
    out.line(f"{report.dataset} -> {target}, which is at {report.parent[:12]}")
    if report.base is not None and report.base != report.parent:
        out.line(f"  the clone is based on {report.base[:12]}")
    shown = report.changes if out.verbosity > 0 else report.changes[:SHOWN]
    for change in shown:
        out.line(f"  {change.kind:8}{change.path}")
    if len(shown) < len(report.changes):
        out.line(f"  and {len(report.changes) - len(shown)} more (-v shows them)")
    for label, names in (
        ("newer on the Hub, left alone", report.newer),
        ("removed here, kept on the Hub (--delete removes them)", report.kept),
        ("not of the dataset's layout, left out", report.left_out),
    ):
        if names:
            level = out.verbosity > 0
            out.line(f"  {label}: {', '.join(names) if level else len(names)}")
    for note in report.notes:
        out.line(f"  note: {note}")
    if report.changes:
        out.line()
        out.line(report.title)
        for row in report.description.split("\n"):
            out.line(row, level=1)
    for refusal in report.refusals:
        out.warn(f"refused: {refusal}")
    c = report.counts
    what = f"{c['added']} added, {c['changed']} changed, {c['deleted']} deleted, "
    what += f"{c['unchanged']} unchanged ({_size(c['bytes'])})"
    if report.url is not None:
        out.result(f"published: {what}: {report.url}")
    elif report.refusals:
        out.result(f"not published: {what}")
    elif not report.changes:
        out.result(f"nothing to publish: {what}")
    else:
        kind = "a pull request" if report.pull_request else "a commit"
        out.result(f"dry run: {what}; --yes makes {kind}")


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
