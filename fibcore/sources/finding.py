"""Finds the source of SGLang or another package: every rule of where to look stands here.

The emitted tests run without fibcore and have rules of their own, which `find_for_tests` follows.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from fibcore.errors import SourceError
from fibcore.extras import SOURCES
from fibcore.progress import Progress
from fibcore.sources import layout
from fibcore.sources.repos_config import repository_path
from fibcore.sources.spec import AutoSource, InstalledSource, PathSource, parse_source
from fibcore.sources.tree import SourceTree, tree_at

TEST_VARIABLE = "FIBCORE_SGLANG"
"""The environment variable by which the emitted tests find SGLang's source."""


def find_source(
    spec: str | None,
    target_dir: Path,
    package: str = "sglang",
    *,
    progress: Progress | None = None,
    option: str | None = None,
) -> SourceTree:
    """The source tree that `spec` names.

    Args:
        spec: None for the one in `target_dir` (which `clone_repos` put there) and else the
            installed package; "auto" for the same, and else fetched from git or PyPI; "installed";
            a path; a git URL with optional `@ref`; `pypi:NAME==VERSION`. What has to be
            fetched goes into the cache (`$FIBCORE_CACHE`, `~/.cache/fibcore`) and is used again.
        target_dir: Where the repositories are.
        package: The package that is wanted, "sglang" or "flashinfer".
        progress: Called during downloads.
        option: The option that `spec` was given for, for errors; `--PACKAGE` by default.

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
                hint=f"run `fibcore clone-repos`, give --{package} SRC, or {_install(package)}",
            )
        return tree
    option = option or f"--{package}"
    source = parse_source(spec, option)
    if isinstance(source, InstalledSource):
        return _installed(package)
    if isinstance(source, PathSource):
        root = layout.require_package(source.path, package, option)
        return tree_at(root, package, source.origin)
    from fibcore.sources.fetching import cached, cached_upstream  # the network

    if isinstance(source, AutoSource):
        return _at_hand(target_dir, package) or cached_upstream(package, progress)
    return cached(source, package, progress)


def find_for_tests(sglang: Path | None, dataset: Path) -> Path | None:
    """SGLang's package folder, found as the emitted tests of a dataset find it; None without one.

    Args:
        sglang: The repository, a folder that holds the package, or the package. None looks at
            FIBCORE_SGLANG, beside the dataset and among the installed packages.
        dataset: The dataset's folder.

    Raises:
        SourceError: it is not where `sglang` or FIBCORE_SGLANG says.
    """
    named = os.environ.get(TEST_VARIABLE) if sglang is None else str(sglang)
    if named:
        package = _package_for_tests(Path(named))
        if package is None:
            raise SourceError(
                "no SGLang source there",
                where=named,
                expected="the repository, a folder that holds the package sglang, or the package",
                hint="--sglang names another place",
            )
        return package
    folders = []
    for parent in dict.fromkeys((dataset.absolute().parent, dataset.resolve().parent)):
        with suppress(SourceError):  # a broken repos_config.json names no place
            folders.append(repository_path(parent, "sglang"))
    folders += _installed_folders("sglang")
    packages = (_package_for_tests(folder) for folder in folders if folder is not None)
    return next((package for package in packages if package is not None), None)


def _package_for_tests(folder: Path) -> Path | None:
    # Tests read single files, so that a part of the package is enough for them.
    return layout.package_root(folder, "sglang", proof="srt")


def _at_hand(target_dir: Path, package: str) -> SourceTree | None:
    folder = repository_path(target_dir, package)
    if folder is not None:
        root = layout.require_package(folder, package, str(folder))
        return tree_at(root, package, str(folder))
    return _installed(package) if _installed_root(package) else None


def _installed_folders(package: str) -> list[Path]:
    """The folders of the installed package; it is located and not imported."""
    found = importlib.util.find_spec(package)  # a top-level name: finds without importing
    return [] if found is None else [Path(each) for each in found.submodule_search_locations or ()]


def _installed_root(package: str) -> Path | None:
    """The folder of the installed package; it is located and not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None or not found.submodule_search_locations:
        return None
    return Path(found.origin).parent


def _install(package: str) -> str:
    extra = SOURCES.get(package)
    return f"pip install {package}" if extra is None else f"pip install 'fibcore[{extra}]'"


def _installed(package: str) -> SourceTree:
    root = _installed_root(package)
    if root is None:
        raise SourceError(
            f"{package} is not installed in this environment",
            where=f"--{package} installed",
            hint=f"{_install(package)}, run `fibcore clone-repos`, or give --{package} a path, "
            "a git URL or pypi:",
        )
    root = layout.require_package(root, package, f"--{package} installed")
    return tree_at(root, package, "installed")
