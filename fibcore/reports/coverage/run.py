"""`fibcore.coverage`: derives what models need, looks what of it is there, and writes the pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset import Dataset
from fibcore.dataset.inventory import read_inventory
from fibcore.errors import FibcoreError, SourceError, UsageError
from fibcore.extraction.drafts import is_draft_slug
from fibcore.extraction.find import few_collections, resolve
from fibcore.extraction.request import Config, OnGpu, Request, WantedWhere
from fibcore.keywords import api, part, several
from fibcore.ops.registry import Registry
from fibcore.pages import need_for_pages
from fibcore.pages.output import write_page
from fibcore.regular_files import read_bytes
from fibcore.reports.coverage.commands import CommandLines
from fibcore.reports.coverage.handkept.checking import Facts, check_page
from fibcore.reports.coverage.handkept.quantities import flat
from fibcore.reports.coverage.handkept.reading import need_for_markdown, read_page
from fibcore.reports.coverage.handkept.statements import Page
from fibcore.reports.coverage.handkept.vocabulary import Vocabulary, words_of
from fibcore.reports.coverage.holdings import DatasetHoldings, Served, read_holdings
from fibcore.reports.coverage.needs import Deriver
from fibcore.reports.coverage.report import CoverageReport, ModelCoverage
from fibcore.sources.tree import SourceTree
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

FOLDER = "reports"
"""Where the pages are below the dataset, unless another folder is named."""


class CoverageAsked(WantedWhere, OnGpu, total=False):
    """The keywords of `coverage`: how models are served, on what, and where things are."""


@api(CoverageAsked, options=True)
def coverage(
    model_name: str | Sequence[str] = (),
    *,
    config: Config = None,
    check: str | Path | None = None,
    output: str | Path | None = None,
    dry_run: bool = False,
    **asked: Unpack[CoverageAsked],
) -> CoverageReport:
    """Say which of the definitions that models need a dataset has, and with what.

    Every model is elaborated anew, as for an extraction that writes nothing; a definition counts
    under whatever name the dataset has it. Without sizes, a model is looked at as it is usually
    served and as it was served when its definitions were extracted.

    Args:
        model_name: Models as for `fibcore.extract`; by default those of the dataset's `model:`
            tags, or with `check` those that the page names.
        config: Take the config of the one model from this file, or this plain data.
        check: A hand-kept page in Markdown to hold against what is derived.
        output: Folder for coverage.md, coverage.html and coverage.json; by default `reports` of
            the dataset, and with `check` none.
        dry_run: Write nothing.
        **asked: How the models are served, and where; see `CoverageAsked`.

    Raises:
        UsageError: a name or an option is wrong, or there is no model to look at.
        SourceError: there is no source to elaborate, or no page to check.
        MissingPackageError: the extra `report` is not installed, and pages are to be written or
            checked.
        DatasetError: the dataset cannot be read, or the pages cannot be written.
    """
    writes = not dry_run and (check is None or output is not None)
    if writes:
        need_for_pages()
    if check is not None:
        need_for_markdown()
    workspace = Workspace.of(**part(Where, asked))
    names, registry = several(model_name), workspace.registry
    request = Request.of(registry, asked, config=config)
    if config is not None and len(names) != 1:
        raise UsageError(
            "one config serves one model",
            where="--config",
            expected="one --model-name",
            found=", ".join(names) or "none",
        )
    page_text = None if check is None else _read(Path(check))
    root = workspace.dataset_folder
    source = workspace.source()
    known = read_holdings(root, read_inventory(root))
    file = Path(config) if isinstance(config, str | Path) else None
    commands = CommandLines(
        root,
        workspace.dataset,
        workspace.target_dir,
        workspace.sglang,
        file,
        workspace.package,
    )
    deriver = Deriver(known, source, registry, request, commands, workspace.progress)
    with few_collections():
        if page_text is None:
            report = _cover(deriver, names or _chosen(request, known, root, source), {})
        else:
            assert check is not None
            report = _check(deriver, names, page_text, Path(check))
    report = attrs.evolve(
        report,
        unneeded=_unneeded(known, report.models, registry, request.op_types),
        problems=tuple(known.problems),
    )
    nothing = not report.models and report.refused
    if not writes or nothing:  # pages of before are better than empty ones
        return report
    return _write(report, root, None if output is None else Path(output))


def _read(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except OSError as error:
        raise SourceError(
            "cannot read the page",
            where=str(path),
            expected="a file of Markdown",
            found=error.strerror or str(error),
        ) from None
    except UnicodeDecodeError as error:
        raise SourceError(
            "the page is not UTF-8", where=f"{path} byte {error.start}", found=error.reason
        ) from None


def _chosen(
    request: Request, known: DatasetHoldings, root: Path, source: SourceTree
) -> tuple[str, ...]:
    """The model that a launch line names, else those of the dataset."""
    read = request.for_source(source).read_launch
    return _models_of(known, root) if read is None or read.model is None else (read.model,)


def _models_of(known: DatasetHoldings, root: Path) -> tuple[str, ...]:
    models = known.models()
    if not models:
        raise UsageError(
            "there is no model to look at",
            where=str(root),
            expected="--model-name, or a dataset whose definitions have model: tags",
            hint="fibcore extract-kernel-definitions adds the definitions of a model",
        )
    return models


def _cover(
    deriver: Deriver, names: Sequence[str], also: Mapping[str, list[Served]]
) -> CoverageReport:
    models: dict[str, ModelCoverage] = {}
    for name in sorted(names, key=is_draft_slug):  # drafts come with the models beside them
        if name in models and is_draft_slug(name):
            continue
        for model in deriver.derive(name, also.get(name, ())):
            models.setdefault(model.slug, model)
    return CoverageReport(
        dataset=deriver.known.root,
        source=_label(deriver.source),
        models=tuple(models.values()),
        refused=tuple(deriver.refused),
    )


def _label(source: SourceTree) -> str:
    """Version or commit; no path, so that the pages are the same anywhere."""
    if source.version is not None:
        return f"sglang {source.version}"
    return f"sglang {source.commit[:12]}" if source.commit else "sglang of unknown version"


def _check(deriver: Deriver, names: Sequence[str], text: str, path: Path) -> CoverageReport:
    """The coverage of the models that a page names, and what of the page is contradicted."""
    page = read_page(text, _vocabulary(deriver, names, ()))
    chosen = names or tuple(page.mentions)
    report = _cover(deriver, chosen, _servings(page, chosen))
    # Now the definitions are known, those that only the models need among them.
    kernels = [need.kernel for model in report.models for need in model.needs]
    page = read_page(text, _vocabulary(deriver, names, kernels))
    elsewhere: dict[tuple[str, ...], tuple[str, ...]] = {}
    for model in report.models:
        for need in model.needs:
            words = words_of(need.kernel)
            elsewhere[words] = (*elsewhere.get(words, ()), model.slug)
    facts: dict[str, Facts] = {}
    for model in report.models:
        data, origin = _config(deriver, model)
        facts[model.slug] = Facts(model, data, origin, elsewhere)
    for name in names:  # a page may name a model as it was asked for
        slugs = [m.slug for m in report.models]
        if name not in facts and len(names) == 1 and slugs:
            facts[name] = facts[slugs[0]]
    found, unchecked, checked = check_page(page, facts, deriver.known.definitions)
    if not found and not unchecked and not checked and not report.refused:
        raise SourceError(
            "the page says nothing of models or definitions",
            where=str(path),
            expected="tables or lists that name them, in Markdown",
        )
    return attrs.evolve(
        report,
        page=path,
        contradictions=tuple(found),
        unchecked=tuple(unchecked),
        checked=checked,
    )


def _vocabulary(deriver: Deriver, names: Sequence[str], kernels: Sequence[str]) -> Vocabulary:
    from fibcore.configs.catalogue import catalogue

    models: dict[str, list[str]] = {
        entry.slug: [entry.hub_id, *entry.aliases] for entry in catalogue()
    }
    for name in (*deriver.known.models(), *names):
        models.setdefault(name, [])
    return Vocabulary(
        models, [*deriver.known.definitions, *kernels], list(deriver.registry.op_types())
    )


def _servings(page: Page, names: Sequence[str]) -> dict[str, list[Served]]:
    """The parallel sizes that a page speaks of; EP alone says nothing of TP and is left out."""
    found: dict[str, list[Served]] = {}
    for statement in page.statements:
        for model in statement.models:
            if model in names:
                found.setdefault(model, []).extend(
                    Served(tp, ep) for tp, ep in statement.servings if tp and tp % (ep or 1) == 0
                )
    return found


def _config(deriver: Deriver, model: ModelCoverage) -> tuple[dict[str, int], str]:
    """The integers of a model's config; none where it could not be extracted."""
    if model.recorded:
        return {}, ""
    try:
        resolved = resolve(model.slug, deriver.source, config=deriver.request.config)
    except FibcoreError:
        # Named by a Hub id or a file; what its kernels have is checked all the same.
        return {}, model.constants
    return flat(resolved.config.data), resolved.config.origin


def _unneeded(
    known: DatasetHoldings,
    models: Sequence[ModelCoverage],
    registry: Registry,
    op_types: Sequence[str],
) -> dict[str, tuple[str, ...]]:
    """Definitions that carry a model's tag and that it does not need, by name."""
    found: dict[str, tuple[str, ...]] = {}
    covered = {m.slug: {n.definition for n in m.needs} for m in models if not m.recorded}
    for name, definition in known.definitions.items():
        # What no plugin covers cannot be derived.
        if definition.op_type not in (op_types or registry.op_types()):
            continue
        extra = [m for m in definition.tag_values("model") if name not in covered.get(m, {name})]
        if extra:
            found[name] = tuple(extra)
    return found


def _write(report: CoverageReport, root: Path, output: Path | None) -> CoverageReport:
    from fibcore.reports.coverage.markdown import to_markdown
    from fibcore.reports.coverage.page import render

    name = root.absolute().name
    texts = {
        "coverage.md": to_markdown(report, name),
        "coverage.html": render(report, name),
        "coverage.json": json.dumps(report.contents(), indent=2, ensure_ascii=False) + "\n",
    }
    written, changed = [], []
    store = Dataset(root)
    for file, text in texts.items():
        if output is None:
            path = root / FOLDER / file
            new = store.write(f"{FOLDER}/{file}", text)
        else:
            path = output / file
            new = write_page(path, text)
        written.append(path)
        changed += [path] if new else []
    return attrs.evolve(report, written=tuple(written), changed=tuple(changed))
