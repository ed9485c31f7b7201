"""The files of a new plugin: read from the package, with the op's names in them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from string import Template

from fibcore.scaffolding.naming import Names

_FILES = Path(__file__).with_name("files")
_ENDING = ".tmpl"  # keeps tools from taking them for files of ours
_PACKAGE, _NAME = "package", "NAME"  # in paths


def rendered(names: Names) -> dict[PurePosixPath, str]:
    """Path below the plugin's folder and text of each of its files, in the order of paths."""
    words, found = names.words(), {}
    for file in _FILES.rglob(f"*{_ENDING}"):
        text = Template(file.read_text(encoding="utf-8")).substitute(words)
        found[_path(file.relative_to(_FILES), names)] = text
    return dict(sorted(found.items()))


def _path(file: Path, names: Names) -> PurePosixPath:
    """Where a file of ours stands in a plugin."""
    parts = [names.package if part == _PACKAGE else part for part in file.parts[:-1]]
    return PurePosixPath(*parts, file.name.removesuffix(_ENDING).replace(_NAME, names.name))
