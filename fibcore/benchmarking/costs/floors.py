"""The time that a GPU takes at least."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.benchmarking.costs.gpus import Gpu
from fibcore.model.cost import Cost


@attrs.frozen
class Floor:
    """Bounds from below of the time of a call, in seconds.

    Attributes:
        compute: What the operations take at the peak rate of their dtype.
        memory: What the bytes take at the peak bandwidth.
        least: What no honest time is below: of what is certain, the operations, and the bytes
            that a cache filled by an earlier call cannot hold, at the highest clocks.
    """

    compute: float
    memory: float
    least: float

    @property
    def seconds(self) -> float:
        """The floor of a call that finds the caches empty: the larger of compute and memory."""
        return max(self.compute, self.memory)

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which of the two it is."""
        return "compute" if self.compute > self.memory else "memory"

    def allows(self, seconds: float) -> bool:
        """Whether a call can have taken this time."""
        return seconds >= self.least


def floor(cost: Cost, gpu: Gpu) -> Floor:
    """The floor of a call on a GPU."""
    certain = cost.certain
    beyond = max(0, certain.bytes_moved - gpu.cache)
    return Floor(
        compute=cost.flops / gpu.rate(cost.dtype),
        memory=cost.bytes_moved / gpu.bandwidth,
        least=max(
            certain.flops / (gpu.rate(certain.dtype) * gpu.clock_headroom),
            beyond / (gpu.bandwidth * gpu.memory_headroom),
        ),
    )
