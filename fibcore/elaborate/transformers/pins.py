"""The transformers release whose config classes go with a SGLang source tree."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.elaborate.transformers.class_tables import (
    ClassTable,
    shipped_table,
    shipped_versions,
    source_table,
)
from fibcore.elaborate.transformers.versions import parse_version
from fibcore.errors import FibcoreError
from fibcore.sources.requirements import pinned

if TYPE_CHECKING:
    from fibcore.sources.tree import SourceTree

NEWEST_MAJOR = 5
"""The major version of transformers that the newest SGLang releases are for."""


def pinned_transformers(root: Path) -> str | None:
    """The version that a SGLang tree requires, by its wheel's metadata or its pyproject.toml.

    Args:
        root: The folder of the `sglang` package.
    """
    return pinned(root, "transformers")


@attrs.frozen
class ReleaseTable:
    """The config classes of the transformers release that goes with a SGLang tree.

    Attributes:
        table: The classes; None where they cannot be had.
        note: A warning for the user, such as that they are those of another release; "" for none.
    """

    table: ClassTable | None
    note: str = ""


def transformers_table(sglang: SourceTree, major: int) -> ReleaseTable:
    """The config classes of the transformers release that a SGLang tree requires.

    Releases whose table is shipped need nothing else. Another release's source text is taken from
    the installed package, the cache or PyPI, where it is not imported; and the nearest shipped
    release stands in for one that cannot be had.

    Args:
        sglang: The SGLang tree.
        major: The major version of transformers that it is for, where it names no release.
    """
    return table_of(pinned_transformers(Path(sglang.root)), major)


@functools.cache
def table_of(wanted: str | None, major: int) -> ReleaseTable:
    """The config classes of a release.

    Args:
        wanted: The release; None for the newest shipped one of the major version.
        major: The major version.
    """
    shipped = shipped_versions()
    if wanted is None:
        return ReleaseTable(shipped_table(max(v for v in shipped if v.startswith(f"{major}."))))
    if wanted in shipped:
        return ReleaseTable(shipped_table(wanted))
    source, problem = release_source(wanted)
    if source is not None:
        return ReleaseTable(source_table(Path(source.root), wanted))
    nearest = min(shipped, key=lambda v: _distance(v, wanted))
    return ReleaseTable(
        shipped_table(nearest),
        f"defaults of config classes are those of transformers {nearest}, since {wanted}, which "
        f"this SGLang requires, cannot be had: {problem}",
    )


def _distance(one: str, other: str) -> tuple[int, ...]:
    """How far two releases are apart, by major, minor and micro number."""
    pairs = zip(parse_version(one) or (0, 0, 0), parse_version(other) or (0, 0, 0), strict=True)
    return tuple(abs(a - b) for a, b in pairs)


def release_source(version: str) -> tuple[SourceTree | None, str]:
    """The source text of a transformers release.

    It is the installed package where that is this release, else the one of the cache or of PyPI;
    it is neither installed nor imported.

    Returns:
        The tree and "", or None and the reason.
    """
    from fibcore.sources.finding import find_source

    problem = ""
    for spec in ("installed", f"pypi:transformers=={version}"):
        try:
            tree = find_source(spec, Path(), package="transformers")
        except FibcoreError as error:
            problem = error.message + (f" ({error.found})" if error.found else "")
            continue
        if tree.version == version or spec != "installed":
            return tree, ""
    return None, problem
