"""A source tree to read a model's classes from. Nothing in it is ever imported or run."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.errors import SourceError
from fibcore.progress import Progress, report
from fibcore.sources import layout
from fibcore.sources.folders import cache_root, locked, staged, write_json
from fibcore.sources.spec import (
    AutoSource,
    GitSource,
    InstalledSource,
    PathSource,
    PypiSource,
    parse_source,
)

if TYPE_CHECKING:
    from fibcore.sources.git import RemoteRef

CONFIG_NAME = "repos_config.json"
"""What `clone_repos` writes into the target folder."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


@attrs.frozen
class Upstream:
    """Where a package comes from when nobody says otherwise.

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
        PypiSource("flashinfer-python", "0.6.13"),
        "",
    ),
}


@attrs.frozen
class SourceTree:
    """The source text of a package.

    Attributes:
        root: The package's own folder, the one that holds `srt` for sglang.
        version: Its version, None where no file says it.
        commit: The git commit, None outside a repository.
        origin: What the user asked for, or where it was found; for reports.
    """

    root: Path
    version: str | None
    commit: str | None
    origin: str


def find_source(
    spec: str | None,
    target_dir: Path,
    package: str = "sglang",
    *,
    progress: Progress | None = None,
) -> SourceTree:
    """The source tree that `spec` names.

    Args:
        spec: None for the one in `target_dir` (which `clone_repos` put there) and else the
            installed package; "auto" for the same, and else fetched from git or PyPI; "installed";
            a path; a git URL with optional `@ref`; `pypi:NAME==VERSION`. What has to be
            fetched goes into the cache (`$FIBCORE_CACHE`, `~/.cache/fibcore`) and is used again.
        target_dir: Where the repositories are.
        package: The package that is wanted, "sglang" or "flashinfer".
        progress: Told about downloads.

    Raises:
        SourceError: there is none, or it is not what it should be.
        UsageError: a spec that is refused.
    """
    if spec is None:
        tree = _at_hand(target_dir, package)
        if tree is None:
            raise SourceError(
                f"no {package} source",
                where=str(target_dir),
                expected=f"{target_dir}/{package}, or {package} installed",
                hint=f"run `fibcore clone-repos`, or give --{package} SRC",
            )
        return tree
    source = parse_source(spec, f"--{package}")
    if isinstance(source, AutoSource):
        return _at_hand(target_dir, package) or _fetch_auto(package, progress)
    if isinstance(source, InstalledSource):
        return _installed(package)
    if isinstance(source, PathSource):
        root = layout.require_package(source.path, package, f"--{package}")
        return _described(root, package, source.origin)
    return _cached(source, package, progress)


def read_repos_config(target_dir: Path) -> dict[str, Any]:
    """The `repositories` of a target folder's repos_config.json; empty where it has none.

    Raises:
        SourceError: the file is broken.
    """
    path = target_dir / CONFIG_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        repositories = data["repositories"]
        if not all(isinstance(entry["path"], str) for entry in repositories.values()):
            raise TypeError("a path is not a string")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SourceError("cannot be read", where=str(path), found=str(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(
            "not a repos_config.json",
            where=str(path),
            expected='{"target_dir": ..., "repositories": {NAME: {"path": ..., "status": ...}}}',
            found=f"{type(error).__name__}: {error}",
            hint="remove the file and run `fibcore clone-repos`",
        ) from error
    return dict(repositories)


def repository_path(target_dir: Path, key: str) -> Path | None:
    """Where a repository is that `clone_repos` set up, or lies in its usual place; None else.

    Args:
        target_dir: The folder of the repositories.
        key: "sglang", "flashinfer" or "flashinfer_trace".

    Raises:
        SourceError: repos_config.json is broken, or names a folder that is not there.
    """
    usual = target_dir / key.replace("_", "-")
    if usual.exists():
        return usual
    entry = read_repos_config(target_dir).get(key)
    if entry is None:
        return None
    # A relative path is one from where clone-repos ran, which need not be here.
    path = Path(entry["path"])
    if not path.exists():
        raise SourceError(
            "the repository is not where it was put",
            where=str(target_dir / CONFIG_NAME),
            expected=f"a folder {path}",
            hint="run `fibcore clone-repos` again",
        )
    return path


def _at_hand(target_dir: Path, package: str) -> SourceTree | None:
    folder = repository_path(target_dir, package)
    if folder is not None:
        root = layout.require_package(folder, package, str(folder))
        return _described(root, package, str(folder))
    return _installed(package) if _installed_root(package) else None


def _installed_root(package: str) -> Path | None:
    """The folder of the installed package; it is located and not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None or not found.submodule_search_locations:
        return None
    return Path(found.origin).parent


def _installed(package: str) -> SourceTree:
    root = _installed_root(package)
    if root is None:
        raise SourceError(
            f"{package} is not installed in this environment",
            where=f"--{package} installed",
            hint=f"run `fibcore clone-repos`, or give --{package} a path, a git URL or pypi:",
        )
    root = layout.require_package(root, package, f"--{package} installed")
    return _described(root, package, "installed")


def _described(root: Path, package: str, origin: str) -> SourceTree:
    root = root.resolve()
    return SourceTree(root, layout.version_of(root, package), layout.commit_of(root), origin)


def _fetch_auto(package: str, progress: Progress | None) -> SourceTree:
    from fibcore.sources import git

    upstream = UPSTREAM[package]
    source: GitSource | PypiSource = GitSource(upstream.url)
    try:
        git.look_up(GitSource(upstream.url), git.PROBE_LIMIT_S)
    except git.UnreachableError as error:
        source = upstream.pypi
        why = error.found or error.message
        report(progress, f"{package}: {source.origin}, since {upstream.url} gives {why}")
    return _cached(source, package, progress)


def _cached(source: GitSource | PypiSource, package: str, progress: Progress | None) -> SourceTree:
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
    return _described(root, package, source.origin)


def _cache_home(source: GitSource | PypiSource, package: str) -> Path:
    key = hashlib.sha256(f"{package} {source}".encode()).hexdigest()[:12]
    words = re.sub(r"[^A-Za-z0-9.]+", "-", source.origin).strip("-.")[-60:]
    return cache_root() / "sources" / f"{package}-{words}-{key}"


def _cached_commit(source: GitSource, home: Path, progress: Progress | None) -> Path:
    """The folder for the commit that the source's ref stands for now.

    Where the remote does not answer, the newest that is cached has to do.
    """
    from fibcore.sources import git

    cached = [] if not home.is_dir() else [e for e in home.iterdir() if _COMMIT.match(e.name)]
    limit = git.PROBE_LIMIT_S if cached else git.ASK_LIMIT_S
    try:
        return home / git.look_up(source, limit).commit
    except git.UnreachableError as error:
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
        progress: Told about the download.
        target: What a git remote answered for the source's ref, where it was asked already.

    Raises:
        SourceError: it cannot be had, or does not hold the package; the folder's content is
            then to be thrown away.
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
