"""The dataset folder: reading, merging, writing, conflicts and provenance.

`Dataset` is what most callers need; the other names are its results and the functions that read
and write provenance without a dataset at hand.
"""

from __future__ import annotations

from fibcore.dataset.conflicts import Conflict
from fibcore.dataset.files import BrokenFileError
from fibcore.dataset.merging import Difference
from fibcore.dataset.outcome import Outcome, OutcomeKind
from fibcore.dataset.provenance import (
    ConstantDifference,
    ImportEntry,
    Provenance,
    ProvenanceEntry,
)
from fibcore.dataset.provenance_files import read_provenance, write_provenance
from fibcore.dataset.store import Contents, Dataset

__all__ = [
    "BrokenFileError",
    "Conflict",
    "ConstantDifference",
    "Contents",
    "Dataset",
    "Difference",
    "ImportEntry",
    "Outcome",
    "OutcomeKind",
    "Provenance",
    "ProvenanceEntry",
    "read_provenance",
    "write_provenance",
]
