"""Which releases of other packages a source tree requires."""

from __future__ import annotations

import re
from pathlib import Path

from fibcore.regular_files import read_text


def pinned(root: Path, package: str) -> str | None:
    """The version of a package that a SGLang tree requires; None where it names none.

    It is read off the metadata of the wheel, or pyproject.toml.

    Args:
        root: The folder of the `sglang` package.
        package: The name of the package, as it is imported.
    """
    name = r"[-_.]".join(map(re.escape, re.split(r"[-_.]", package)))
    pin = re.compile(rf"(?<![\w.-]){name}\s*==\s*([\w.]+)")
    candidates = [*sorted(root.parent.glob("sglang-*.dist-info/METADATA"))]
    candidates += [folder / "pyproject.toml" for folder in (root.parent, root.parent.parent)]
    for path in candidates:
        try:
            match = pin.search(read_text(path, errors="replace"))
        except OSError:
            continue
        if match:
            return match.group(1)
    return None
