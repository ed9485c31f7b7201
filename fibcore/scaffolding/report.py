"""The result of `fibcore.new_op`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from fibcore.model.json import to_data


@attrs.frozen
class NewOpReport:
    """The result of `fibcore.new_op`.

    Attributes:
        name: The plugin's name, which is that of its op type.
        folder: The distribution's folder.
        distribution: What pip calls it.
        package: What Python imports.
        files: Its files, relative to the folder.
    """

    name: str
    folder: Path
    distribution: str
    package: str
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        data: dict[str, Any] = to_data(self)
        return data
