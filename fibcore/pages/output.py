"""Writes a page to a file that is named by the user, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from fibcore.dataset.files import write_elsewhere
from fibcore.errors import DatasetError


def write_page(path: Path, text: str) -> bool:
    """Write a page; folders are made as needed.

    Returns:
        Whether the file changed.

    Raises:
        DatasetError: no space, no permission, or a folder is in the way.
    """
    if path.is_dir():
        raise DatasetError(
            "a folder is in the way of a file", where=str(path), expected="the name of a file"
        )
    return write_elsewhere(path, text)
