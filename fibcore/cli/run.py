"""`fibcore run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fibcore.cli import declared, options
from fibcore.cli.add_reference_tests import print_tests
from fibcore.cli.clone_repos import print_repositories
from fibcore.cli.extract import print_models
from fibcore.cli.group import cli
from fibcore.cli.output import Output
from fibcore.cli.verify import print_verified

if TYPE_CHECKING:
    from fibcore.workflow import RunReport


@cli.command()
@click.option(
    "--model-name",
    multiple=True,
    metavar="NAME",
    help="Model (repeatable).  [the launch line's, else llama]",
)
@options.model_constants
@declared.serving_sizes
@declared.launched
@options.repositories
@options.package
@options.device
@click.option("--tolerance", type=options.Tolerance(), help="rtol and atol of the tests.")
@options.evidence
@options.workers
@options.rerun
@options.common
def run(out: Output, **given: Any) -> int:
    """Do the whole workflow: set up, extract, write tests, run them."""
    from fibcore.workflow import run as api

    report = api(progress=out.progress, **given)
    _print(report, out)
    return report.exit_code


def _print(report: RunReport, out: Output) -> None:
    """Print the report of the whole workflow, step by step, and the summary last."""
    out.close()
    out.document(report.to_dict)
    if report.repositories is not None:
        print_repositories(report.repositories, out)
        out.line()
    print_models(report.extraction, out)
    if report.tests is not None:
        print_tests(report.tests, out)
    if report.verification is not None:
        out.line()
        print_verified(report.verification, out)
    for error in report.errors:
        out.warn(str(error))
    c = report.counts
    out.line()
    out.result(
        f"definitions: {c['new']} new, {c['merged']} merged, {c['unchanged']} unchanged, "
        f"{c['conflicting']} conflicting; models: {len(report.extraction.models)}, "
        f"{c['partial models']} of them partial, {c['refused']} refused"
    )
    if report.verification is not None:
        out.result(
            f"tests: {c['tests passed']} passed, {c['tests skipped']} skipped, "
            f"{c['tests failed']} failed; {c['verified']} of {c['definitions']} definitions "
            "verified against a ground truth"
        )
