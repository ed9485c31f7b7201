"""Dumps of FlashInfer's tracing: reading, repairing, and bringing them into a dataset."""

from __future__ import annotations

from fibcore.traces.importing import ImportedKernel, ImportReport, import_trace
from fibcore.traces.reading import Trace, TracedTensor, TraceFile, read_trace
from fibcore.traces.repairs import Repair, Repaired, repair

__all__ = [
    "ImportReport",
    "ImportedKernel",
    "Repair",
    "Repaired",
    "Trace",
    "TraceFile",
    "TracedTensor",
    "import_trace",
    "read_trace",
    "repair",
]
