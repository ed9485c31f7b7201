"""A source tree to read a model's classes from. Nothing in it is ever imported or run."""

from __future__ import annotations

from pathlib import Path

import attrs

from fibcore.sources import layout


@attrs.frozen
class Package:
    """The source of a package that models of another source take parts from.

    Attributes:
        name: The name under which it is imported.
        tree: Its source.
    """

    name: str
    tree: SourceTree


@attrs.frozen
class SourceTree:
    """The source text of a package.

    Attributes:
        root: The package's own folder, the one that holds `srt` for sglang.
        version: Its version, None where no file says it.
        commit: The git commit, None outside a repository.
        origin: What the user asked for, or where it was found; for reports.
        packages: Packages whose source is at hand beside it, for the parts that it takes from them.
    """

    root: Path
    version: str | None
    commit: str | None
    origin: str
    packages: tuple[Package, ...] = ()


def tree_at(root: Path, package: str, origin: str) -> SourceTree:
    """The tree of the package at `root`, with what its files say of version and commit."""
    root = root.resolve()
    return SourceTree(root, layout.version_of(root, package), layout.commit_of(root), origin)
