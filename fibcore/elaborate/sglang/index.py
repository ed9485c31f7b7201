"""The index of a SGLang tree: its model files, and the architectures that they register."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

from fibcore.elaborate.python.index import ModuleIndex, SourceModule

PACKAGE = "sglang"
_ENTRY = "EntryClass"
_MAX_KEPT = 24 << 20
"""Characters of files that are kept read. Parsed are those parts alone that a model needed: the
12 million characters that fifteen models have read take 100 MB."""


class _Kept(threading.local):
    """The index that was used last; of each thread, as no two fill in one at the same time."""

    index: SourceIndex | None = None


_kept = _Kept()


class SourceIndex(ModuleIndex):
    """The modules of a SGLang tree, by dotted name.

    Args:
        root: The package's folder (the one that holds `srt`).
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, PACKAGE)

    def model_modules(self) -> Iterator[SourceModule]:
        """The modules of `srt/models`, in name order."""
        for path in sorted((self.root / "srt" / "models").glob("*.py")):
            if path.name != "__init__.py":
                found = self.module(f"{self.package}.srt.models.{path.stem}")
                if found is not None:
                    yield found


def index_of(root: Path) -> SourceIndex:
    """The index of a SGLang tree: the one that was used last, where it is of this tree as it is.

    Whoever elaborates several models of a source parses its files once.

    Args:
        root: The package's folder.
    """
    last = _kept.index
    if last is None or last.root != Path(root) or last.size > _MAX_KEPT or not last.is_current():
        _kept.index = last = SourceIndex(root)
    return last


def entry_classes(module: SourceModule) -> tuple[str, ...]:
    """The architectures that a model file registers with `EntryClass`."""
    if _ENTRY not in module.text:
        return ()
    names: list[str] = []
    for statement in module.binding(_ENTRY):
        for node in statement.nodes:
            value = getattr(node, "value", None)
            if isinstance(value, ast.Name):
                names.append(value.id)
            elif isinstance(value, (ast.List, ast.Tuple)):
                names.extend(e.id for e in value.elts if isinstance(e, ast.Name))
    return tuple(dict.fromkeys(names))
