"""The kernels of a step in order, with their counts, costs and floors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fibcore.extraction.report import Refused
from fibcore.reports.steps import ModelSteps


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
        """0 where all was looked at and is whole, 2 where nothing but usage was wrong, else 1."""
        if not self.models and self.refused:
            return 2 if all(one.error.exit_code == 2 for one in self.refused) else 1
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
