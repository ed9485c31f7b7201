"""What an import found and did, as data: for people, for `--json` and for callers of the API."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.model.json import to_data
from fibcore.traces.repairs import Repair


@attrs.frozen
class ImportedKernel:
    """A file of a dump whose kernel is in the dataset now.

    Attributes:
        file: The file, below the dump's folder.
        traced: The kernel's name in it.
        name: The name that the dataset has it under.
        op_type: Its op type.
        outcome: What became of the definition, one of `fibcore.dataset`'s outcomes.
        message: The outcome in a line.
        repairs: Everything that was repaired.
        executed: How many cases its reference ran on; None where it did not run.
        notes: What a reader should know beside it, such as why the reference did not run.
    """

    file: str
    traced: str
    name: str
    op_type: str
    outcome: str
    message: str
    repairs: tuple[Repair, ...]
    executed: int | None = None
    notes: tuple[str, ...] = ()


@attrs.frozen
class ImportReport:
    """The result of `fibcore.import_trace`.

    Attributes:
        trace: The dump's folder.
        dataset: The dataset's folder.
        dry_run: Whether nothing was written.
        kernels: What was imported, file by file.
        refused: Files that could not be imported, as errors with file, place and reason.
        skipped: How many files are of op types that were not asked for.
        errors: Files of the dataset that are broken, definitions that could not be written.
    """

    trace: str
    dataset: str
    dry_run: bool
    kernels: tuple[ImportedKernel, ...] = ()
    refused: tuple[FibcoreError, ...] = ()
    skipped: int = 0
    errors: tuple[FibcoreError, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many files had each outcome, how many repairs were made, how many were refused."""
        return {
            **dict(sorted(Counter(kernel.outcome for kernel in self.kernels).items())),
            "imported": len(self.kernels),
            "repairs": sum(len(kernel.repairs) for kernel in self.kernels),
            "executed": sum(kernel.executed is not None for kernel in self.kernels),
            "refused": len(self.refused),
            "skipped": self.skipped,
        }

    @property
    def failures(self) -> tuple[str, ...]:
        """Why `exit_code` is not 0, one line each."""
        errors = (*self.refused, *self.errors)
        return tuple(f"{e.where}: {e.message}" if e.where else e.message for e in errors)

    @property
    def exit_code(self) -> int:
        """0 where every file is in the dataset, 1 where one was refused or could not be written."""
        return 1 if self.refused or self.errors else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "trace": self.trace,
            "dataset": self.dataset,
            "dry_run": self.dry_run,
            "counts": self.counts,
            "kernels": to_data(self.kernels),
            "refused": to_data(self.refused),
            "errors": to_data(self.errors),
            "exit_code": self.exit_code,
        }
