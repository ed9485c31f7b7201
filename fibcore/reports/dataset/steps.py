"""Steps of the models of a dataset, as they were served when their definitions were extracted."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from fibcore.benchmarking.costs.gpus import GPUS, gpu_called
from fibcore.errors import FibcoreError
from fibcore.extraction.drafts import is_draft_slug
from fibcore.extraction.find import few_collections
from fibcore.extraction.findings import find_models
from fibcore.extraction.report import Refused
from fibcore.extraction.request import Request
from fibcore.model.serving import Serving
from fibcore.reports.dataset.contents import Contents
from fibcore.reports.steps import ModelSteps, model_steps, step_batches
from fibcore.workspace import Workspace


@attrs.frozen
class DatasetSteps:
    """The steps of a dataset's models.

    Attributes:
        gpus: The GPUs that floors are given for; the first one decides shares.
        models: One entry for every way in which a model was served.
        refused: Models that could not be looked at.
    """

    gpus: tuple[str, ...]
    models: tuple[ModelSteps, ...]
    refused: tuple[Refused, ...]


def dataset_steps(contents: Contents, workspace: Workspace, gpus: Sequence[str]) -> DatasetSteps:
    """Elaborate the models of a dataset's records anew and weigh their steps.

    Args:
        contents: The dataset.
        workspace: The source and the plugins.
        gpus: The GPUs; all that are known where none is named.

    Raises:
        UsageError: a GPU is not known.
        SourceError: there is no source to elaborate.
    """
    chosen = tuple({one.name: one for one in map(gpu_called, gpus)}.values()) or GPUS
    registry, source = workspace.registry, workspace.source()
    options = {
        name: option.of_a_rank
        for name, option in registry.options.items()
        if option.of_a_rank is not None
    }
    models: list[ModelSteps] = []
    refused: list[Refused] = []
    with few_collections():
        for name, serving in _served(contents):
            request = attrs.evolve(_request(serving), options=options)
            try:
                found = find_models([name], source, request, registry, progress=workspace.progress)
            except FibcoreError as error:  # a launch line of another release
                refused.append(Refused(name, error))
                continue
            refused += found.refused
            models += (
                model_steps(model, step_batches(), chosen, registry) for model in found.models
            )
    return DatasetSteps(tuple(one.name for one in chosen), tuple(models), tuple(refused))


def _served(contents: Contents) -> tuple[tuple[str, Serving], ...]:
    """The models of the records with how each was served; drafts come with their targets."""
    found: dict[tuple[str, Serving], None] = {}
    for entry in contents.entries:
        for one in entry.provenance.entries if entry.provenance else ():
            serving = Serving(
                tp=one.serving.tp,
                ep=one.serving.ep,
                gpu=one.serving.gpu,
                launch=one.serving.launch,
            )
            if not is_draft_slug(one.model):
                found[one.model, serving] = None
    return tuple(sorted(found, key=lambda key: (key[0], key[1].tp, key[1].ep, str(key[1]))))


def _request(serving: Serving) -> Request:
    launch = serving.launch
    if launch is None or not launch.line:
        return Request(tp=(serving.tp,), ep=(serving.ep,), gpu=serving.gpu)
    line = f"{launch.line} --tp-size {serving.tp} --ep-size {serving.ep}"
    return Request(launch=line, gpu=serving.gpu)
