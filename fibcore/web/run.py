"""`add_new_model`: a model's hierarchy, counts and definitions into the site's `models.ts`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibcore.configs.catalogue import find_entry
from fibcore.dataset.files import write_elsewhere
from fibcore.dataset.spelling import spelled
from fibcore.errors import DatasetError, WebError
from fibcore.extraction.hierarchy import HierarchyReport, hierarchy
from fibcore.extraction.one_model import OneAsked
from fibcore.extraction.report import ExtractReport, ModelReport
from fibcore.extraction.request import ModelsLaunched, Request
from fibcore.extraction.run import extract
from fibcore.extras import need
from fibcore.keywords import api, part
from fibcore.model.layer_paths import expand_paths
from fibcore.regular_files import read_bytes
from fibcore.web.diff import unified_diff
from fibcore.web.entry import WebEntry
from fibcore.web.entry_edit import edited
from fibcore.web.models_file import find_models_file
from fibcore.web.modules import Counts, web_modules
from fibcore.web.report import AddModelReport
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack


@api(ModelsLaunched, options=True)
def add_new_model(
    model_name: str = "",
    *,
    web_dir: str | Path = ".",
    display_name: str | None = None,
    description: str | None = None,
    counts: Counts = "model",
    prune: bool = False,
    dry_run: bool = False,
    show: Callable[[str], None] | None = None,
    **asked: Unpack[ModelsLaunched],
) -> AddModelReport:
    """Add a model to the web site's list, or bring its entry up to date.

    Only the entry of this model changes; every other byte of the file stays. In an entry that is
    there, counts, parents and types become the model's, definitions and modules come in, and
    whatever else it has stays.

    Args:
        model_name: As for `fibcore.extract`; may be left out where a launch line names the model.
        web_dir: The site's repository, a folder above or below `apps/web`, or the file itself.
        display_name: The model's name for people; by default that of its Hub id.
        description: A sentence about it; by default its class, Hub id and parallel sizes.
        counts: "model" counts a module in the whole model, "parent" in each of its parents.
        prune: Remove definitions of the entry that the model does not have. Modules of another
            hierarchy go in any case, and what they list moves to the model's.
        dry_run: Write nothing.
        show: Called with the diff before the file is written.
        **asked: How the model is served, and where; see `ModelsLaunched`. The
            config is that of `hf_repo_id`, the model's Hub id, unless `config` is given. The names
            of definitions are those of the dataset, which need not exist.

    Returns:
        The report. What could not be found of the model is in it, and its `exit_code` is 1 then.

    Raises:
        UsageError: a name or an option is wrong.
        WebError: the file is not there, or cannot be edited safely, or not be written.
        MissingPackageError: the extra `web` is not installed.
        FibcoreError: the model cannot be extracted at all.
    """
    need("web", "TypeScript files")
    names = (model_name,) if model_name.strip() else ()
    asked["registry"] = registry = Workspace.of(**part(Where, asked)).registry
    # What is wrong with it, before anything is read.
    Request.of(registry, asked).check_named(names)
    path = find_models_file(Path(web_dir))
    before = _read(path)
    hf_repo_id, config = asked.get("hf_repo_id"), asked.get("config")
    asked["hf_repo_id"] = config_id = hf_repo_id if config is None else None
    found = extract(names, dry_run=True, **asked)
    if not found.models:
        raise found.refused[0].error
    first = found.models[0]
    several = [model for model in found.models if model.slug == first.slug]
    launched = asked.get("launch") is not None  # and has the sizes then
    about: OneAsked = {
        **part(OneAsked, asked),
        "hf_repo_id": config_id,
        "config": config,
        "tp": None if launched else first.tp,
        "ep": None if launched else first.ep,
    }
    tree = hierarchy(first.name, **about)
    modules, astray = web_modules(
        tree.architecture, tree.rows, _definitions(several, before), counts=counts
    )
    hub_id = hf_repo_id or _hub_id(first)
    entry = WebEntry(
        id=first.slug,
        name=display_name or _display_name(hub_id or first.slug),
        description=description or _description(several, hub_id),
        modules=modules,
        renamed=display_name is not None,
        described=description is not None,
        hub_id=hub_id,
    )
    result = edited(before, str(path), entry, prune=prune)
    diff = unified_diff(before, result.data, path.name)
    if diff and show is not None:
        show(diff)
    if diff and not dry_run:
        _write(path, before, result.data)
    return AddModelReport(
        path=path,
        dry_run=dry_run,
        model=first.slug,
        architecture=tree.architecture,
        constants=tree.constants,
        source=tree.source,
        sizes=tuple((m.tp, m.ep) for m in several),
        modules=modules,
        change=result.change,
        diff=diff,
        not_in_dataset=tuple(n for n, kind in found.outcomes.items() if kind in _NOT_THERE),
        notes=(
            *dict.fromkeys(warning for model in found.models for warning in model.warnings),
            *_drafts(found.models, first.slug),
            *_notes(astray, counts, result.counts),
        ),
        failures=_failures(found, tree),
    )


MAX_BYTES = 4 << 20
"""The largest models.ts that is read."""

_NOT_THERE = ("new", "not written")


_QUOTED = re.compile(rb"[\"']([A-Za-z_]\w*)[\"']")


def _definitions(models: Sequence[ModelReport], text: bytes) -> dict[str, list[str]]:
    """Definition name to the paths of the modules that run it, over all parallel sizes.

    Names put their sizes as those that the file has, so that it lists no kernel in two spellings.
    """
    there = {name.decode() for name in _QUOTED.findall(text)}
    found: dict[str, list[str]] = {}
    for model in models:
        for kernel in model.kernels:
            paths = found.setdefault(spelled(kernel.name, there), [])
            paths += [path for pattern in kernel.paths for path in expand_paths(pattern)]
    return found


def _hub_id(model: ModelReport) -> str | None:
    if "/" in model.name:
        return model.name
    entry = find_entry(model.slug)
    return entry.hub_id if entry is not None else None


def _display_name(name: str) -> str:
    """`deepseek-ai/DeepSeek-V3` as people write it: DeepSeek V3."""
    return name.rpartition("/")[2].replace("-", " ").replace("_", " ").strip()


def _description(models: Sequence[ModelReport], hub_id: str | None) -> str:
    sizes = " and ".join(f"TP {m.tp}, EP {m.ep}" for m in models)
    of = f" ({hub_id})" if hub_id else ""
    served = f", {models[0].served}" if models[0].served else ""
    return f"{models[0].architecture}{of}, kernels at {sizes}{served}"


def _drafts(models: Sequence[ModelReport], slug: str) -> Iterator[str]:
    for model in models:
        if model.slug != slug:
            yield f"{model.slug}, which the launch runs beside it, is a model of its own"


def _notes(astray: Sequence[str], counts: Counts, others: Counts | None) -> Iterator[str]:
    if astray:
        where = f"{len(set(astray))} modules of kernels are not in the hierarchy"
        yield f"{where}, such as {astray[0]}; their definitions stand with the module above"
    if others not in (None, counts):
        per = "in each parent" if others == "parent" else "in the whole model"
        yield f"other entries seem to count modules {per}; --counts {others} does so too"


def _failures(found: ExtractReport, tree: HierarchyReport) -> tuple[str, ...]:
    lines = list(found.failures)
    if tree.missing and not any(m.missing for m in found.models):
        lines += [f"missing from the model tree: {missing}" for missing in tree.missing]
    return tuple(lines)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise WebError(
            "cannot read the file", where=str(path), found=error.strerror or str(error)
        ) from error


def _write(path: Path, before: bytes, after: bytes) -> None:
    """Put the new content in the place of the old in one step, permission bits kept.

    Raises:
        WebError: somebody changed the file meanwhile, or it cannot be written.
    """
    real = Path(os.path.realpath(path))  # a link stays a link
    if _read(real) != before:
        raise WebError(
            "the file changed while the model was extracted; it was left alone",
            where=str(path),
            hint="run it again",
        )
    try:
        write_elsewhere(real, after.decode("utf-8"))
    except DatasetError as error:
        raise WebError(
            error.message,
            where=error.where,
            found=error.found,
            hint="make room or give this user the right to write there; nothing was half-written",
        ) from error
