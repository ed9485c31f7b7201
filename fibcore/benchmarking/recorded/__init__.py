"""Workloads of real runs: what FlashInfer logged of its inputs, made fit for a dataset."""

from fibcore.benchmarking.recorded.report import ImportWorkloadsReport, Recorded
from fibcore.benchmarking.recorded.run import import_workloads

__all__ = ["ImportWorkloadsReport", "Recorded", "import_workloads"]
