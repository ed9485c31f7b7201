"""Dumps of FlashInfer's tracing: reading, repairing, and bringing them into a dataset."""

from __future__ import annotations

from fibcore.traces.reading import Trace, TracedTensor, TraceFile, read_trace
from fibcore.traces.repairs import Repair, Repaired, repair
from fibcore.traces.report import ImportedKernel, ImportReport
from fibcore.traces.run import import_trace

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
