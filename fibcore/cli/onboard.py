"""`fibcore onboard`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.group import cli
from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.onboarding import OnboardReport


@cli.command()
@click.argument("model_name", metavar="MODEL")
@options.model_constants
@declared.serving_sizes
@declared.launched
@options.sglang
@click.option(
    "--output",
    default="onboarding",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder of all onboardings; a model has one below it.",
)
@click.option(
    "--workloads",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What FlashInfer logged of a real run.  [without: drawn, marked as synthetic]",
)
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The log of that run.",
)
@click.option("--limit", type=options.PositiveInt(), help="Workloads of a definition at most.")
@click.option(
    "--site",
    type=click.Path(exists=True, path_type=Path),
    help="The site's repository, for the entry in models.ts.",
)
@click.option("--since", metavar="SRC", help="An older SGLang source: what is new beside it.")
@click.option("--force", is_flag=True, help="Do every phase anew.")
@options.common
def onboard(out: Output, **given: Any) -> int:
    """Make the two pull requests of a new model, dataset and code.

    A manifest beside them says what each phase found and did; a call goes on where the one before
    it ended.
    """
    from fibcore.onboarding import onboard as api

    report = api(given.pop("model_name"), progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: OnboardReport, out: Output) -> None:
    out.close()
    out.document(report.to_dict)
    rows = [
        (name, kernel["op_type"], kernel["state"], ", ".join(kernel["flashinfer"]["functions"]))
        for name, kernel in sorted(report.manifest.kernels.items())
    ]
    out.table(("definition", "op type", "state", "FlashInfer"), rows)
    for phase, state in report.left.items():
        out.line(f"{phase}: {state}")
    for problem in report.problems:
        out.warn(problem)
    new = len(report.manifest.new())
    out.result(
        f"{report.model}: {len(rows)} kernels, {new} new; did {', '.join(report.done) or 'nothing'}"
        f" ({report.folder})"
    )
