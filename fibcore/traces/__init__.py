"""Dumps of FlashInfer's tracing: reading, repairing, and bringing them into a dataset."""

from __future__ import annotations

from fibcore.traces.reading import Trace, TracedTensor, TraceFile, read_trace

__all__ = ["Trace", "TraceFile", "TracedTensor", "read_trace"]
