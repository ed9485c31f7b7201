"""The result of `fibcore.cost`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.benchmarking.costs.floors import Floor
from fibcore.benchmarking.costs.gpus import Gpu
from fibcore.errors import FibcoreError
from fibcore.model.cost import Cost
from fibcore.model.json import to_data


@attrs.frozen
class WorkloadCost:
    """What a workload costs.

    Attributes:
        definition: The definition.
        op_type: Its op type.
        uuid: The workload; "" for sizes that the call named.
        axes: Sizes of the var axes.
        cost: Operations and bytes.
        floors: GPU to the time that it takes at least.
    """

    definition: str
    op_type: str
    uuid: str
    axes: Mapping[str, int]
    cost: Cost
    floors: Mapping[str, Floor]


@attrs.frozen
class Measured:
    """A time that a benchmark measured, and the floor of its GPU.

    Attributes:
        definition: The definition.
        solution: What was measured.
        hardware: The device, as the benchmark names it.
        gpu: The GPU that this is; None for one that is not known.
        axes: Sizes of the var axes.
        latency_ms: The time in milliseconds.
        cost: Operations and bytes.
        floor: The floor; None where the GPU is not known.
        place: File and line of the trace, relative to the dataset.
    """

    definition: str
    solution: str
    hardware: str
    gpu: str | None
    axes: Mapping[str, int]
    latency_ms: float
    cost: Cost
    floor: Floor | None
    place: str

    @property
    def impossible(self) -> bool:
        """Whether the time is below what the GPU can do: something else was measured."""
        return self.floor is not None and not self.floor.allows(self.latency_ms / 1000)

    @property
    def share(self) -> float | None:
        """The floor divided by the time: 1 is as fast as the hardware; None without a floor."""
        if self.floor is None or self.latency_ms <= 0:
            return None
        return self.floor.seconds * 1000 / self.latency_ms

    @property
    def words(self) -> str:
        """The time, and what its GPU needs, for people."""
        sizes = ", ".join(f"{axis} {size}" for axis, size in self.axes.items())
        found = f"{self.definition}, {self.solution} ({sizes}): {self.latency_ms:.4g} ms"
        if self.floor is None:
            return f"{found} on {self.hardware} ({self.place})"
        least = f"{self.floor.least * 1000:.4g} ms"
        return f"{found} on {self.hardware}, which needs at least {least} ({self.place})"


@attrs.frozen
class CostReport:
    """What the workloads of a dataset cost.

    Attributes:
        dataset: The dataset's folder.
        gpus: The GPUs that floors are given for.
        workloads: Every workload of the chosen definitions.
        measured: Every time of a benchmark that passed.
        without: Definition to the reason why nothing is said of it.
        problems: Files that are not usable, and plugins that failed.
    """

    dataset: Path
    gpus: tuple[Gpu, ...]
    workloads: tuple[WorkloadCost, ...]
    measured: tuple[Measured, ...]
    without: Mapping[str, str]
    problems: tuple[FibcoreError, ...]

    @property
    def impossible(self) -> tuple[Measured, ...]:
        """The times that no GPU of their kind can have taken."""
        return tuple(m for m in self.measured if m.impossible)

    @property
    def exit_code(self) -> int:
        """1 where a time is impossible, or something is not usable."""
        return 1 if self.problems or self.impossible else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data: dict[str, Any] = to_data(self)
        data["gpus"] = [{**to_data(gpu), "flops": dict(gpu.flops)} for gpu in self.gpus]
        for plain, one in zip(data["workloads"], self.workloads, strict=True):
            for name, floor in one.floors.items():
                plain["floors"][name] |= {"seconds": floor.seconds, "bound": floor.bound}
        for plain, time in zip(data["measured"], self.measured, strict=True):
            plain |= {"impossible": time.impossible, "share": time.share}
        return {**data, "exit_code": self.exit_code}
