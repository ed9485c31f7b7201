"""The result of `fibcore.import_workloads`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.model.json import to_data


@attrs.frozen
class Recorded:
    """The workloads of a definition that came out of a real run.

    Attributes:
        definition: The definition.
        calls: Calls of it in the dump.
        workloads: Different workloads that they are.
        added: Those that the dataset did not have.
    """

    definition: str
    calls: int
    workloads: int
    added: int


@attrs.frozen
class ImportWorkloadsReport:
    """What became of a dump.

    Attributes:
        dump: Its folder.
        dataset: The dataset's folder.
        dry_run: Whether nothing was written.
        definitions: The definitions that got workloads.
        skipped: Reason to the number of calls that none came out of.
        refused: Calls that cannot be read.
        log: File of the sanitised log in the dataset; None without one.
    """

    dump: str
    dataset: str
    dry_run: bool
    definitions: tuple[Recorded, ...]
    skipped: Mapping[str, int]
    refused: tuple[FibcoreError, ...]
    log: str | None = None

    @property
    def exit_code(self) -> int:
        """1 where nothing came in or a call could not be read, else 0."""
        return 1 if self.refused or not self.definitions else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "dump": self.dump,
            "dataset": self.dataset,
            "dry_run": self.dry_run,
            "definitions": to_data(self.definitions),
            "skipped": dict(self.skipped),
            "refused": [error.to_dict() for error in self.refused],
            "log": self.log,
            "exit_code": self.exit_code,
        }
