"""Packages whose source is read beside SGLang's, for the parts that models take from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fibcore.errors import SourceError, UsageError
from fibcore.progress import Progress
from fibcore.sources import layout
from fibcore.sources.finding import find_source
from fibcore.sources.requirements import pinned
from fibcore.sources.tree import Package, SourceTree, tree_at

OPTION = "--package"
KNOWN = ("transformers", "timm")
"""Packages that models of SGLang take parts from: they are looked for where nobody names them."""
_FORM = "NAME, or NAME=SRC with a path, `installed`, a git URL or pypi:NAME==VERSION"
_NAME = re.compile(r"[A-Za-z_]\w*")


def find_packages(
    given: Sequence[str],
    sglang: SourceTree,
    target_dir: Path,
    progress: Progress | None = None,
) -> tuple[Package, ...]:
    """The packages that are named, and those at hand: read as text, never imported.

    At hand is `NAME` in the folder of the repositories, and else beside SGLang's package, where
    pip installs what that requires.

    Args:
        given: `NAME=SRC`, with a source as `--sglang` takes one; or `NAME`, for the release that
            this SGLang requires: the installed package where it is that one, else from PyPI.
        sglang: SGLang's source.
        target_dir: The folder of the repositories.
        progress: Called during downloads.

    Raises:
        SourceError: a package that is named cannot be had.
        UsageError: what is given names no package, or names one twice.
    """
    found: dict[str, Package] = {}
    for spec in given:
        name, equals, source = spec.partition("=")
        if not _NAME.fullmatch(name) or (equals and not source) or name == "sglang":
            raise UsageError(
                "no package and its source", where=OPTION, expected=_FORM, found=repr(spec)
            )
        if name in found:
            raise UsageError("a package is named twice", where=OPTION, found=name)
        tree = _named(name, source, sglang, target_dir, progress)
        found[name] = Package(name, tree)
    for name in KNOWN:
        root = None if name in found else _at_hand(name, sglang, target_dir)
        if root is not None:
            found[name] = Package(name, tree_at(root, name, str(root)))
    return tuple(found.values())


def _named(
    name: str, source: str, sglang: SourceTree, target_dir: Path, progress: Progress | None
) -> SourceTree:
    if source:
        return find_source(source, target_dir, name, progress=progress, option=OPTION)
    version = pinned(Path(sglang.root), name)
    root = _at_hand(name, sglang, target_dir)
    if root is not None:
        return tree_at(root, name, str(root))
    if version is None:
        raise SourceError(
            f"no release of {name} to take",
            where=OPTION,
            expected=f"{name}=SRC, since this SGLang requires no certain release of it",
            found=name,
        )
    return release(name, version, progress)


def release(name: str, version: str, progress: Progress | None = None) -> SourceTree:
    """The source of a release: the installed package where it is that one, else from PyPI.

    Raises:
        SourceError: it cannot be had.
    """
    try:
        tree = find_source("installed", Path(), name, option=OPTION)
    except SourceError:
        tree = None
    if tree is not None and tree.version == version:
        return tree
    return find_source(f"pypi:{name}=={version}", Path(), name, progress=progress, option=OPTION)


def _at_hand(name: str, sglang: SourceTree, target_dir: Path) -> Path | None:
    """Where a package lies that nobody named a source of."""
    beside = Path(sglang.root).parent / name
    if (beside / "__init__.py").is_file():
        return beside
    folder = target_dir / name
    return layout.package_root(folder, name) if folder.is_dir() else None
