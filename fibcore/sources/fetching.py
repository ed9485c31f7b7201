"""Fetches a package's source from git or PyPI, and keeps it in the cache."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.progress import Progress, report
from fibcore.sources import layout
from fibcore.sources.folders import cache_root, locked, staged, write_json
from fibcore.sources.spec import GitSource, PypiSource
from fibcore.sources.tree import SourceTree, tree_at

if TYPE_CHECKING:
    from fibcore.sources.git import RemoteRef

_COMMIT = re.compile(r"[0-9a-f]{40}")


@attrs.frozen
class Upstream:
    """The default places of a package.

    Attributes:
        url: Its git repository.
        pypi: The release that stands in where that host cannot be reached. It is one that
            fibcore's knowledge of the package covers, not whatever is newest.
        prefix: The folder in the repository that holds the package; "" for the top.
    """

    url: str
    pypi: PypiSource
    prefix: str


UPSTREAM = {
    "sglang": Upstream(
        "https://github.com/sgl-project/sglang.git", PypiSource("sglang", "0.5.23"), "python"
    ),
    "flashinfer": Upstream(
        "https://github.com/flashinfer-ai/flashinfer.git",
        PypiSource("flashinfer-python", "0.7.4"),
        "",
    ),
}


def cached_upstream(package: str, progress: Progress | None) -> SourceTree:
    """The package from its usual git host, or the release that stands in for it."""
    from fibcore.sources import git
    from fibcore.sources.git_process import UnreachableError

    upstream = UPSTREAM[package]
    source: GitSource | PypiSource = GitSource(upstream.url)
    try:
        git.look_up(GitSource(upstream.url), git.PROBE_LIMIT_S)
    except UnreachableError as error:
        source = upstream.pypi
        why = error.found or error.message
        report(progress, f"{package}: {source.origin}, since {upstream.url} gives {why}")
    return cached(source, package, progress)


def cached(source: GitSource | PypiSource, package: str, progress: Progress | None) -> SourceTree:
    """The tree of a fetched source in the cache, fetched now where it is not there yet."""
    home = _cache_home(source, package)
    if isinstance(source, PypiSource):
        entry = home / source.version
    else:
        entry = _cached_commit(source, home, progress)
    if not entry.is_dir():
        with locked(home, progress):
            # Another run may have fetched it while this one waited for the lock.
            if not entry.is_dir():
                with staged(entry) as folder:
                    fetch(source, package, folder, progress)
    root = layout.require_package(entry, package, str(entry))
    return tree_at(root, package, source.origin)


def _cache_home(source: GitSource | PypiSource, package: str) -> Path:
    key = hashlib.sha256(f"{package} {source}".encode()).hexdigest()[:12]
    words = re.sub(r"[^A-Za-z0-9.]+", "-", source.origin).strip("-.")[-60:]
    return cache_root() / "sources" / f"{package}-{words}-{key}"


def _cached_commit(source: GitSource, home: Path, progress: Progress | None) -> Path:
    """The folder for the commit that the source's ref stands for now.

    Where the remote does not answer, the newest that is cached has to do.
    """
    from fibcore.sources import git
    from fibcore.sources.git_process import UnreachableError

    cached = [] if not home.is_dir() else [e for e in home.iterdir() if _COMMIT.match(e.name)]
    limit = git.PROBE_LIMIT_S if cached else git.ASK_LIMIT_S
    try:
        return home / git.look_up(source, limit).commit
    except UnreachableError as error:
        if not cached:
            raise
        newest = max(cached, key=lambda entry: entry.stat().st_mtime)
        why = error.found or error.message
        report(progress, f"{source.origin}: using commit {newest.name[:12]} of before ({why})")
        return newest


def fetch(
    source: GitSource | PypiSource,
    package: str,
    folder: Path,
    progress: Progress | None,
    target: RemoteRef | None = None,
) -> None:
    """Fetch a package's source into an empty folder, laid out like its repository.

    Args:
        source: What to fetch.
        package: The package that it has to hold.
        folder: An empty folder.
        progress: Called during the download.
        target: What a git remote answered for the source's ref, where it was asked already.

    Raises:
        SourceError: it cannot be had, or does not hold the package; the folder's content is
            of no use then.
    """
    from fibcore.sources import git, pypi

    if isinstance(source, GitSource):
        git.clone(source, folder, progress, package, target)
    else:
        upstream = UPSTREAM.get(package)
        inner = folder / upstream.prefix if upstream else folder
        inner.mkdir(exist_ok=True)
        pypi.fetch_package(source, package, inner, progress, package)
        version = layout.version_of(inner / package, package) or source.version
        write_json(folder / layout.MARKER, {"origin": source.origin, "version": version})
    layout.require_package(folder, package, source.origin)
