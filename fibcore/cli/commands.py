"""The commands. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fibcore import __version__
from fibcore.cli import declared, options
from fibcore.cli.group import FibcoreGroup
from fibcore.cli.output import Output

DEVICES = ("auto", "cpu", "cuda")


@click.group(
    cls=FibcoreGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="fibcore")
def cli() -> None:
    """GPU kernel definitions of LLMs, derived from SGLang's source text and config.json.

    Exit status: 0 done, 1 failed or partial (the message says what), 2 wrong usage.
    """


@cli.command()
@click.option("--model-name", multiple=True, metavar="NAME", help="Model (repeatable).  [llama]")
@options.model_constants
@declared.serving_sizes
@options.repositories
@click.option("--device", type=click.Choice(DEVICES), default="auto", help="Where tests run.")
@click.option("--tolerance", type=options.Tolerance(), help="rtol and atol of the tests.")
@options.evidence
@options.workers
@options.common
def run(out: Output, model_name: tuple[str, ...], **given: Any) -> int:
    """Do the whole workflow: set up, extract, write tests, run them."""
    from fibcore.cli import render
    from fibcore.workflow import run as api

    report = api(model_name or ("llama",), progress=out.progress, **given)
    render.run(report, out)
    return report.exit_code


@cli.command()
@options.repositories
@click.option("--update", is_flag=True, help="Bring clones to what their remote has now.")
@options.common
def clone_repos(
    out: Output,
    target_dir: Path,
    sglang: str | None,
    flashinfer: str | None,
    flashinfer_trace: str | None,
    update: bool,
    **_: Any,
) -> int:
    """Set up the repositories, and repos_config.json.

    SRC is a git URL with optional @REF, a local path, pypi:NAME==VERSION, installed, or auto: git,
    and where its host cannot be reached PyPI, or an empty dataset.
    """
    from fibcore.cli import render
    from fibcore.sources.clone import clone_repos as api

    report = api(
        target_dir,
        sglang=sglang or "auto",
        flashinfer=flashinfer or "auto",
        flashinfer_trace=flashinfer_trace or "auto",
        update=update,
        progress=out.progress,
    )
    render.repos(report, out)
    return 0


@cli.command("extract-kernel-definitions")
@click.option(
    "--model-name", multiple=True, required=True, metavar="NAME", help="Model (repeatable)."
)
@options.model_constants
@declared.serving_sizes
@options.sglang
@click.option("--dry-run", is_flag=True, help="Find everything, write nothing.")
@options.common
def extract(out: Output, model_name: tuple[str, ...], **given: Any) -> int:
    """Derive kernel definitions of models (short: extract).

    NAME is an SGLang model file (llama), an architecture class, a slug of the catalogue
    (llama-3.1-8b) or a Hub id; with --config any slug. TP and EP default to how the catalogue
    says the model is served.
    """
    from fibcore.cli import render
    from fibcore.extraction.run import extract as api

    report = api(model_name, progress=out.progress, **given)
    render.extract(report, out)
    return report.exit_code


@cli.command("add-reference-tests")
@click.option("--op-type", multiple=True, metavar="T", help="All definitions of an op type.")
@click.option("--definition-name", multiple=True, metavar="N", help="One definition.")
@click.option(
    "--definitions-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="All definitions in a folder.",
)
@click.option("--all", "all_", is_flag=True, help="All definitions of the dataset.")
@click.option("--tolerance", type=options.Tolerance(), help="rtol and atol in place of defaults.")
@click.option("--force", is_flag=True, help="Replace test files that were edited.")
@options.common
def add_reference_tests(
    out: Output,
    target_dir: Path,
    dataset: Path | None,
    disable_plugin: tuple[str, ...],
    definitions_dir: Path | None,
    **given: Any,
) -> int:
    """Write reference tests (short: add-tests)."""
    from fibcore.cli import render
    from fibcore.extraction.run import dataset_folder
    from fibcore.ops.registry import load_plugins
    from fibcore.verification import add_reference_tests as api

    if dataset is None and definitions_dir is not None:
        # .../definitions and .../definitions/OP_TYPE say which dataset is meant.
        folder = definitions_dir.absolute()
        named = folder if folder.name == "definitions" else folder.parent
        if named.name == "definitions":
            dataset = named.parent
    report = api(
        dataset=dataset_folder(target_dir, dataset),
        definitions_dir=definitions_dir,
        registry=load_plugins(disable=disable_plugin),
        **given,
    )
    render.added_tests(report, out)
    return report.exit_code


@cli.command()
@click.option("--op-type", multiple=True, metavar="T", help="Definitions of this op type only.")
@click.option("--definition-name", multiple=True, metavar="N", help="This definition only.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", help="Where tests run.")
@click.option("--tolerance", type=options.Tolerance(), help="rtol and atol of the tests.")
@click.option("--sglang", metavar="SRC", help="SGLang source.  [the one in the target dir]")
@options.evidence
@options.workers
@options.common
def verify(
    out: Output,
    target_dir: Path,
    dataset: Path | None,
    disable_plugin: tuple[str, ...],
    sglang: str | None,
    **given: Any,
) -> int:
    """Run reference tests, record evidence, set status tags.

    Each definition's tests run in a worker process. One that crashes, hangs or takes too much
    memory fails alone. Evidence is written as definitions end: what an interrupted call found is
    kept.
    """
    from fibcore.cli import render
    from fibcore.errors import SourceError
    from fibcore.extraction.run import dataset_folder
    from fibcore.ops.registry import load_plugins
    from fibcore.sources.finding import find_source
    from fibcore.verification import verify as api

    root: Path | None = None
    try:
        root = find_source(sglang, target_dir).root
    except SourceError:
        if sglang is not None:
            raise
        # Without a source the tests that need it are skipped, with that reason.
    shown = render.VerifyProgress(out)
    try:
        report = api(
            dataset=dataset_folder(target_dir, dataset),
            sglang=root,
            registry=load_plugins(disable=disable_plugin),
            progress=shown.progress,
            finished=shown.finished,
            **given,
        )
    except KeyboardInterrupt:
        out.warn(f"The tests of {shown.done} definitions had ended; that is recorded.")
        raise
    render.verified(report, out)
    return report.exit_code


@cli.command()
@options.common
def plugins(out: Output, disable_plugin: tuple[str, ...], **_: Any) -> int:
    """List the plugins and their op types."""
    from fibcore.cli import render
    from fibcore.queries import plugins as api

    render.plugins(api(disable_plugin=disable_plugin), out)
    return 0


@cli.command()
@click.argument("name", required=False)
@options.model_constants
@click.option("--tp", type=options.PositiveInt(), help="Tensor-parallel size.")
@click.option("--ep", type=options.PositiveInt(), help="Expert-parallel size.")
@options.sglang
@options.common
def models(
    out: Output,
    name: str | None,
    target_dir: Path,
    sglang: str | None,
    hf_repo_id: str | None,
    config: Path | None,
    tp: int | None,
    ep: int | None,
    disable_plugin: tuple[str, ...],
    **_: Any,
) -> int:
    """List models, or show the module hierarchy of NAME."""
    from fibcore import queries
    from fibcore.cli import render

    if name is None:
        if any(value is not None for value in (hf_repo_id, config, tp, ep)):
            raise click.UsageError("--hf-repo-id, --config, --tp and --ep need a NAME")
        found = queries.models(
            target_dir=target_dir,
            sglang=sglang,
            disable_plugin=disable_plugin,
            progress=out.progress,
        )
        render.models(found, out)
        return 0
    report = queries.hierarchy(
        name,
        target_dir=target_dir,
        hf_repo_id=hf_repo_id,
        config=config,
        tp=tp,
        ep=ep,
        sglang=sglang,
        progress=out.progress,
    )
    render.hierarchy(report, out)
    return report.exit_code


@cli.command()
@click.option("--execute", is_flag=True, help="Also run every reference on small inputs.")
@options.common
def validate(
    out: Output,
    target_dir: Path,
    dataset: Path | None,
    disable_plugin: tuple[str, ...],
    execute: bool,
) -> int:
    """Check the dataset: layout, schema, references, tags."""
    from fibcore.cli import render
    from fibcore.extraction.run import dataset_folder
    from fibcore.ops.registry import load_plugins
    from fibcore.validation.run import validate as api

    report = api(
        dataset_folder(target_dir, dataset),
        execute=execute,
        registry=load_plugins(disable=disable_plugin),
    )
    render.validated(report, out)
    return 0 if report.ok else 1


@cli.command()
@click.argument("name")
@options.common
def explain(out: Output, name: str, **given: Any) -> int:
    """Show where the numbers of definition NAME come from."""
    from fibcore.cli import render
    from fibcore.queries import explain as api

    render.explain(api(name, **given), out)
    return 0
