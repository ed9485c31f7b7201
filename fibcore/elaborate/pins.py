"""The transformers release whose config classes go with a SGLang source tree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from fibcore.errors import FibcoreError

if TYPE_CHECKING:
    from fibcore.sources.tree import SourceTree

_PIN = re.compile(r"transformers\s*==\s*([\w.]+)")


def pinned_transformers(root: Path) -> str | None:
    """The version that a SGLang tree requires, by its wheel's metadata or its pyproject.toml.

    Args:
        root: The folder of the `sglang` package.
    """
    candidates = [*sorted(root.parent.glob("sglang-*.dist-info/METADATA"))]
    candidates += [folder / "pyproject.toml" for folder in (root.parent, root.parent.parent)]
    for path in candidates:
        try:
            match = _PIN.search(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        if match:
            return match.group(1)
    return None


def transformers_source(sglang: SourceTree) -> tuple[SourceTree | None, str]:
    """The source of the transformers release that belongs to a SGLang tree.

    It is taken from the cache or from PyPI, as text; transformers is neither installed nor
    imported.

    Returns:
        The tree and "", or None and what the user can do.
    """
    from fibcore.sources.tree import find_source

    version = pinned_transformers(Path(sglang.root))
    spec = f"pypi:transformers=={version}" if version else "installed"
    try:
        return find_source(spec, Path(), package="transformers"), ""
    except FibcoreError as error:
        return None, (
            "add the key to the config; its class default would come from transformers "
            f"{version or ''}, which cannot be had: {error.message}"
        )
