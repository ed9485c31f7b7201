"""What an export wrote."""

from __future__ import annotations

from typing import Any

import attrs

from fibcore.extraction.report import Refused
from fibcore.ops.exports import Exported


@attrs.frozen
class FormatInfo:
    """A format that kernels can be exported in.

    Attributes:
        name: Its name.
        description: A line for people.
        op_types: The op types that it has; empty for all.
    """

    name: str
    description: str
    op_types: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return attrs.asdict(self)


@attrs.frozen
class ExportReport:
    """The result of `fibcore.export`.

    Attributes:
        format: The format.
        source: The SGLang source that models were derived from.
        output: The folder that files were written to; None where none were.
        tables: What was written, one entry for each plugin that writes the format.
        models: The models that kernels were found in.
        refused: Models that could not be looked at.
        failures: What of the others is not complete, in a line each.
    """

    format: str
    source: str
    output: str | None
    tables: tuple[Exported, ...]
    models: tuple[str, ...]
    refused: tuple[Refused, ...]
    failures: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files below the folder."""
        return tuple(file.path for one in self.tables for file in one.files)

    @property
    def left_out(self) -> dict[str, str]:
        """Kernels that the format cannot have, with the reason."""
        return {name: why for one in self.tables for name, why in one.left_out.items()}

    @property
    def gaps(self) -> tuple[str, ...]:
        """Keys that the consumer looks for and its source does not hold."""
        return tuple(gap for one in self.tables for gap in one.gaps)

    @property
    def exit_code(self) -> int:
        """0 where every model is whole and something was exported, else 1."""
        return 1 if self.refused or self.failures or not any(one.rows for one in self.tables) else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "format": self.format,
            "source": self.source,
            "output": self.output,
            "models": list(self.models),
            "files": list(self.files),
            "rows": [
                dict(zip(one.columns, row, strict=True)) for one in self.tables for row in one.rows
            ],
            "left_out": self.left_out,
            "gaps": list(self.gaps),
            "refused": [refused.to_dict() for refused in self.refused],
            "failures": list(self.failures),
            "exit_code": self.exit_code,
        }
