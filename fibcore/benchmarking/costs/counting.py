"""What the workloads and benchmark results of a definition cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.benchmarking.costs.floors import floor
from fibcore.benchmarking.costs.gpus import Gpu, gpu_of_device
from fibcore.benchmarking.costs.inputs import IntegerInputs
from fibcore.benchmarking.costs.report import Measured, WorkloadCost
from fibcore.dataset import BrokenFileError
from fibcore.dataset.inventory import Holding
from fibcore.errors import FibcoreError
from fibcore.model.cost import Cost
from fibcore.model.definition import Definition

if TYPE_CHECKING:
    from fibcore.ops.registry import Registry


MAX_SIZE = 2**53
"""Sizes from here on are none: no machine holds such a tensor, and no float its cost."""


def is_size(value: object) -> bool:
    """Whether a value is the size of an axis."""
    return type(value) is int and 0 <= value < MAX_SIZE


class Counter:
    """Counts for the definitions of one dataset; what goes wrong is kept in `problems`."""

    def __init__(self, root: Path, registry: Registry, gpus: Sequence[Gpu]) -> None:
        """Take the dataset's folder, the plugins that count, and GPUs to give floors for."""
        self.registry = registry
        self.gpus = tuple(gpus)
        self.problems: list[FibcoreError] = []
        self._inputs = IntegerInputs(root)

    def workloads(self, definition: Definition, holding: Holding) -> tuple[WorkloadCost, ...]:
        """The costs of a definition's workloads."""
        found = []
        for workload in holding.workloads:
            cost = self._cost(definition, workload.axes, workload.inputs, workload.place)
            if cost is not None:
                found.append(self.at(definition, workload.axes, cost, workload.uuid))
        return tuple(found)

    def at(
        self, definition: Definition, axes: Mapping[str, int], cost: Cost, uuid: str = ""
    ) -> WorkloadCost:
        """A cost with the floors of all GPUs."""
        floors = {gpu.name: floor(cost, gpu) for gpu in self.gpus}
        return WorkloadCost(definition.name, definition.op_type, uuid, axes, cost, floors)

    def measured(self, definition: Definition, holding: Holding) -> tuple[Measured, ...]:
        """The times of a definition's benchmark results that passed."""
        found = []
        for e in holding.passed:
            if e.latency_ms is None or not math.isfinite(e.latency_ms):
                continue
            cost = self._cost(definition, e.axes, e.inputs, e.place)
            if cost is None:
                continue
            gpu = gpu_of_device(e.hardware)
            found.append(
                Measured(
                    definition=definition.name,
                    solution=e.solution,
                    hardware=e.hardware,
                    gpu=gpu.name if gpu else None,
                    axes=e.axes,
                    latency_ms=e.latency_ms,
                    cost=cost,
                    floor=floor(cost, gpu) if gpu else None,
                    place=e.place,
                )
            )
        return tuple(found)

    def _cost(
        self,
        definition: Definition,
        axes: Mapping[str, int],
        inputs: Mapping[str, Any],
        place: str,
    ) -> Cost | None:
        missing = [n for n in definition.var_axes if not is_size(axes.get(n))]
        if missing:
            self.problems.append(
                BrokenFileError(
                    "axes are not the definition's",
                    path=place,
                    place="$.workload.axes",
                    expected=f"a size of {', '.join(missing)}",
                    found=", ".join(f"{n} {size}"[:40] for n, size in axes.items()) or "none",
                )
            )
            return None
        try:
            return self.registry.cost(definition, axes, self._inputs.of(definition, inputs))
        except FibcoreError as error:
            self.problems.append(error)
            return None
