"""Setting up the repositories: sglang, flashinfer and the flashinfer-trace dataset."""

from __future__ import annotations

import os
from pathlib import Path

from fibcore.errors import FibcoreError, SourceError, UsageError
from fibcore.progress import Progress
from fibcore.sources import layout
from fibcore.sources.fetching import UPSTREAM
from fibcore.sources.folders import locked, write_json
from fibcore.sources.repos_config import (
    CONFIG_NAME,
    ReposConfig,
    Repository,
    read_repos_config,
)
from fibcore.sources.repository_setup import RepositoryKind, RepositorySetup
from fibcore.sources.spec import (
    InstalledSource,
    PathSource,
    PypiSource,
    Source,
    parse_source,
)

TRACE_URL = "https://huggingface.co/datasets/flashinfer-ai/flashinfer-trace"

_KINDS = (
    RepositoryKind("sglang", "sglang", UPSTREAM["sglang"].url),
    RepositoryKind("flashinfer", "flashinfer", UPSTREAM["flashinfer"].url),
    RepositoryKind("flashinfer_trace", None, TRACE_URL),
)


def clone_repos(
    target_dir: str | os.PathLike[str] = "./repos",
    *,
    sglang: str = "auto",
    flashinfer: str = "auto",
    flashinfer_trace: str = "auto",
    update: bool = False,
    progress: Progress | None = None,
) -> ReposConfig:
    """Put sglang, flashinfer and the flashinfer-trace dataset into `target_dir`.

    Git clones are shallow. "auto" clones from the usual place; where that cannot be reached it
    takes a release from PyPI, and for the dataset an empty folder, and says so. What is there
    already stays, whoever put it there; `update` brings clones to what their remote has now.

    Args:
        target_dir: The folder of the repositories; created where it is missing.
        sglang: A git URL with optional `@ref`, a path (gives a link), `pypi:NAME==VERSION`,
            "installed" (gives a link), or "auto".
        flashinfer: Likewise.
        flashinfer_trace: A git URL, a path or "auto".
        update: Fetch what is newer.
        progress: Called during downloads.

    Returns:
        What is in the folder now; `repos_config.json` there says the same.

    Raises:
        SourceError: a repository cannot be had; the others are set up all the same.
        UsageError: a source that is refused; nothing is done then.
    """
    given = {"sglang": sglang, "flashinfer": flashinfer, "flashinfer_trace": flashinfer_trace}
    sources = {kind.key: _parse(kind, given[kind.key]) for kind in _KINDS}
    target = os.fspath(target_dir)
    done: dict[str, Repository] = {}
    failed: list[FibcoreError] = []
    with locked(Path(target), progress):
        before = read_repos_config(Path(target))
        work = RepositorySetup(target, update, progress, before)
        for kind in _KINDS:
            outcome = work.attempt(kind, sources[kind.key])
            if isinstance(outcome, Repository):
                done[kind.key] = outcome
            else:
                failed.append(outcome)
        config = ReposConfig(target, done)
        data = config.to_dict()
        # What could not be changed is still there, and what was known of it still holds.
        data["repositories"] = {**before, **data["repositories"]}
        write_json(Path(target, CONFIG_NAME), data)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise SourceError(
            f"{len(failed)} of {len(_KINDS)} repositories could not be set up",
            where=target,
            found="\n".join(str(error) for error in failed),
        )
    return config


def _parse(kind: RepositoryKind, spec: str) -> Source:
    source = parse_source(spec, kind.option)
    if kind.package is None and isinstance(source, (PypiSource, InstalledSource)):
        raise UsageError(
            "the dataset is not a package",
            where=kind.option,
            expected="a git URL, a path or auto",
            found=spec,
        )
    if isinstance(source, PathSource):
        if kind.package is not None:
            layout.require_package(source.path, kind.package, kind.option)
        elif not source.path.is_dir():
            raise SourceError("no such folder", where=kind.option, found=str(source.path))
    return source
