"""The result of `fibcore.add_workloads`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.model.json import to_data


@attrs.frozen
class LeftOut:
    """A size that is larger than the memory bound.

    Attributes:
        definition: The definition.
        label: The size.
        bytes: What its inputs and outputs take on a device.
    """

    definition: str
    label: str
    bytes: int


@attrs.frozen
class AddWorkloadsReport:
    """Which workloads were written.

    Attributes:
        dataset: The dataset's folder.
        max_memory: Bytes that a workload may take on a device.
        workloads: Definition to the number of fibcore's workloads that it has now.
        kept: Definition to the number of others in its file, which stay as they are.
        written: Files that changed, relative to the dataset; blobs are not among them.
        unchanged: Files that were as they should be.
        blobs_written: Blob files that are new.
        blobs_removed: Blob files that no workload or trace names any more.
        blob_bytes: Size of all blobs of the chosen definitions.
        left_out: Sizes beyond the memory bound.
        without: Definition to the reason why it has no workloads.
        problems: What went wrong; the other definitions are done.
    """

    dataset: Path
    max_memory: int
    workloads: Mapping[str, int]
    kept: Mapping[str, int]
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    blobs_written: int
    blobs_removed: int
    blob_bytes: int
    left_out: tuple[LeftOut, ...]
    without: Mapping[str, str]
    problems: tuple[FibcoreError, ...]

    @property
    def exit_code(self) -> int:
        """0 where every chosen definition has workloads, else 1."""
        return 1 if self.problems or self.without else 0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**to_data(self), "exit_code": self.exit_code}
