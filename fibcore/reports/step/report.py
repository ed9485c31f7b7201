"""The kernels of a step in order, with their counts, costs and floors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fibcore.extraction.report import Refused


@attrs.frozen
class StepKernel:
    """Launches of one kernel in a step.

    Attributes:
        what: The definition, or what a plugin calls the op, or the class or function.
        op_type: Its op type; "" where it has no definition.
        state: As of `Launch`.
        count: How many the step has.
        flops: Operations of all of them; None where their cost is not known.
        bytes: Bytes that all of them move, likewise; of those without a definition, their weights.
        floors: GPU to the seconds that all of them take at least; empty where that is not known.
        bound: "compute" or "memory": what decides that on the first GPU; "" where it is not known.
        share: Its part of the first GPU's floor of the step, 0 to 1.
    """

    what: str
    op_type: str
    state: str
    count: int
    flops: int | None
    bytes: int | None
    floors: Mapping[str, float]
    bound: str
    share: float


@attrs.frozen
class Step:
    """One step of a model.

    Attributes:
        stage: "decode" or "prefill".
        batch: The batch, in words.
        kernels: What it launches, in the order in which the forward pass first comes to it.
        floors: GPU to the seconds that all launches of known cost take at least.
    """

    stage: str
    batch: str
    kernels: tuple[StepKernel, ...]
    floors: Mapping[str, float]

    @property
    def launches(self) -> int:
        """All launches."""
        return sum(kernel.count for kernel in self.kernels)

    @property
    def unweighed(self) -> int:
        """Launches whose cost is not known, or that move data and no more."""
        return sum(kernel.count for kernel in self.kernels if not kernel.floors)

    @property
    def advice(self) -> str:
        """What to optimise first: the kernel that takes most of the step, and what bounds it."""
        first = max(self.kernels, key=lambda kernel: kernel.share, default=None)
        if first is None or not first.share:
            return ""
        way = {
            "memory": "move fewer bytes, or come closer to the bandwidth",
            "compute": "come closer to the peak rate, or use a narrower format",
        }[first.bound]
        return f"{first.what} has {first.share:.1%} of the floor, bound by {first.bound}: {way}"


@attrs.frozen
class ModelSteps:
    """The steps of a model that is served in one way.

    Attributes:
        label: The model and how it is served.
        steps: Its decode step and its prefill step.
        partial: What of the model is not complete, in a line each.
    """

    label: str
    steps: tuple[Step, ...]
    partial: tuple[str, ...]


@attrs.frozen
class StepReport:
    """The result of `fibcore.step`.

    Attributes:
        source: The SGLang source.
        gpus: The GPUs that floors are given for; the first one decides shares.
        models: One entry for every way in which the model is served.
        refused: Ways that could not be looked at.
        output: The page that was written; None where none was.
    """

    source: str
    gpus: tuple[str, ...]
    models: tuple[ModelSteps, ...]
    refused: tuple[Refused, ...] = ()
    output: str | None = None

    @property
    def exit_code(self) -> int:
        """0 where every way was looked at and is whole, else 1."""
        return 1 if self.refused or any(model.partial for model in self.models) else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it; floors to six digits."""
        data = attrs.asdict(self)
        for model, plain in zip(self.models, data["models"], strict=True):
            for step, one in zip(model.steps, plain["steps"], strict=True):
                one["floors"] = _rounded(step.floors)
                one |= {"launches": step.launches, "advice": step.advice}
                for kernel, row in zip(step.kernels, one["kernels"], strict=True):
                    row |= {"floors": _rounded(kernel.floors), "share": round(kernel.share, 6)}
        data["refused"] = [refused.to_dict() for refused in self.refused]
        return {**data, "exit_code": self.exit_code}


def _rounded(floors: Mapping[str, float]) -> dict[str, float]:
    return {gpu: float(f"{seconds:.6g}") for gpu, seconds in floors.items()}
