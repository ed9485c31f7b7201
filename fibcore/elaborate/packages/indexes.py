"""The modules of packages whose source is at hand beside SGLang's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibcore.elaborate.packages.timm_models import TimmIndex
from fibcore.elaborate.packages.transformers_index import TransformersIndex
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.libraries import table
from fibcore.errors import UsageError
from fibcore.sources.requirements import pinned

if TYPE_CHECKING:
    from fibcore.sources.tree import Package, SourceTree

_KINDS: dict[str, type[ModuleIndex]] = {"timm": TimmIndex, "transformers": TransformersIndex}
"""Packages that do more at their import than bind names; any other is read as it stands."""
_MAX_KEPT = 24 << 20
"""Characters of a package's files that are kept read."""


class _Kept(threading.local):
    """The modules that were used last, by package; of each thread."""

    def __init__(self) -> None:
        self.indexes: dict[str, ModuleIndex] = {}


_kept = _Kept()


def package_indexes(packages: Iterable[Package]) -> tuple[ModuleIndex, ...]:
    """The modules of each package.

    Raises:
        UsageError: a package is one that is imitated, whose source is not read.
    """
    return tuple(_index(package.name, Path(package.tree.root)) for package in packages)


def is_followed(name: str) -> bool:
    """Whether a package's source is followed where it is at hand."""
    imitated = {dotted.partition(".")[0] for dotted in table.CALLS}
    return name not in imitated and name not in sys.stdlib_module_names


def _index(name: str, root: Path) -> ModuleIndex:
    if not is_followed(name):
        raise UsageError(
            "this package's source is not followed",
            where="--package",
            expected="a package that models take parts from, such as transformers or timm",
            found=name,
            hint="what is needed of it is built into fibcore",
        )
    last = _kept.indexes.get(name)
    if last is None or last.root != root or last.size > _MAX_KEPT or not last.is_current():
        _kept.indexes[name] = last = _KINDS.get(name, ModuleIndex)(root, name)
    return last


def required_packages(source: SourceTree) -> list[str]:
    """Packages with a rule of their own here that a SGLang tree requires."""
    return [name for name in _KINDS if pinned(Path(source.root), name) is not None]


def other_releases(source: SourceTree, read: Sequence[str]) -> list[str]:
    """What to say of packages that are not the release that SGLang requires.

    Args:
        source: SGLang's source, with the packages.
        read: The packages of which something was read.
    """
    found: list[str] = []
    for package in source.packages:
        required = pinned(Path(source.root), package.name)
        version = package.tree.version
        if package.name not in read or required is None or version == required:
            continue
        release = f"release {version}" if version else "a release that its files do not tell"
        found.append(
            f"parts of {package.name} are those of {release} ({package.tree.origin}); "
            f"this SGLang requires {required}, of which they may differ"
        )
    return found
