"""A model that a survey is to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fibcore.model.launch import DEFAULT_GPU, Launch
from fibcore.reports.survey.report import State, SurveyedModel


@attrs.frozen
class Task:
    """A model to look at.

    Attributes:
        architecture: The model class.
        file: The model file that registers it.
        model: The model's slug, which is unique among the tasks of a survey.
        origin: Where its config is from: `file:PATH`, `catalogue:SLUG`, `class:MODEL_TYPE`.
        config: The parsed config.
        tp: Tensor-parallel size.
        ep: Expert-parallel size.
        launch: Other options of the server; None where all have the source's defaults.
        gpu: The GPU that the server runs on.
        notes: What a reader should know of the config.
        others: Model types to try where the defaults of this one's class make no model.
    """

    architecture: str
    file: str
    model: str
    origin: str
    config: Mapping[str, Any]
    tp: int = 1
    ep: int = 1
    launch: Launch | None = None
    gpu: str = DEFAULT_GPU
    notes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def candidates(self) -> Iterator[Task]:
        """The task, and the same for each of the other config classes."""
        yield attrs.evolve(self, others=())
        for kind in self.others:
            config = {**self.config, "model_type": kind}
            yield attrs.evolve(self, origin=f"class:{kind}", config=config, others=())

    def surveyed(self, state: State, **found: Any) -> SurveyedModel:
        """What the table says of this model."""
        return SurveyedModel(
            architecture=self.architecture,
            file=self.file,
            model=self.model,
            origin=self.origin,
            state=state,
            tp=self.tp,
            ep=self.ep,
            notes=(*self.notes, *found.pop("notes", ())),
            **found,
        )
