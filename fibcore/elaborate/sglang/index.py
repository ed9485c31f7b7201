"""The index of a SGLang tree: its model files, and the architectures that they register."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fibcore.elaborate.python.index import ModuleIndex, SourceModule

PACKAGE = "sglang"
_ENTRY = "EntryClass"


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
