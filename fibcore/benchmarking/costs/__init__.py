"""What calls cost, and the time below which a GPU cannot do them."""

from __future__ import annotations

from fibcore.benchmarking.costs.floors import Floor, floor
from fibcore.benchmarking.costs.gpus import GPUS, Gpu, gpu_called, gpu_of_device
from fibcore.benchmarking.costs.report import CostReport, Measured, WorkloadCost
from fibcore.benchmarking.costs.run import cost

__all__ = [
    "GPUS",
    "CostReport",
    "Floor",
    "Gpu",
    "Measured",
    "WorkloadCost",
    "cost",
    "floor",
    "gpu_called",
    "gpu_of_device",
]
