"""`fibcore.step`: derives the launches of a model's steps and weighs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.benchmarking.costs.gpus import GPUS, gpu_called
from fibcore.extraction.find import few_collections
from fibcore.extraction.findings import find_models
from fibcore.extraction.report import source_label
from fibcore.extraction.request import ModelsAsked, Request
from fibcore.keywords import api, part, several, user_path
from fibcore.model.launch import gpu_of
from fibcore.pages import need_for_pages
from fibcore.pages.output import write_page
from fibcore.reports.launch_costs import BATCHES
from fibcore.reports.step.report import StepReport
from fibcore.reports.steps import model_steps, step_batches
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack


@api(ModelsAsked, options=True)
def step(
    model_name: str | Sequence[str] = (),
    *,
    batch: int = BATCHES["decode"].sequences,
    keys: int = BATCHES["decode"].keys,
    prefill_tokens: int = BATCHES["prefill"].tokens,
    prefill_sequences: int = BATCHES["prefill"].sequences,
    gpu: str | Sequence[str] = (),
    output: str | Path | None = None,
    **asked: Unpack[ModelsAsked],
) -> StepReport:
    """Say what one decode step and one prefill step launch, and what that takes at least.

    Kernels are those of one rank. A kernel with a definition has its cost; one without is taken to
    read its weights; copies and collectives are listed and weigh nothing.

    Args:
        model_name: One model or several, as for `fibcore.extract`; may be left out where a launch
            line names the model.
        batch: Sequences of a decode step.
        keys: Keys of each of them.
        prefill_tokens: Tokens of a prefill step, all sequences together.
        prefill_sequences: Sequences of a prefill step, without keys of before.
        gpu: The GPUs; the first one decides shares, and the first that facts describe serves the
            models. H100, H200 and B200 by default.
        output: A page in HTML with the same, and pictures; none is written without it.
        **asked: How the models are served, and where; see `ModelsAsked`, `Wanted` and `Where`.

    Raises:
        UsageError: a name, a number or an option is wrong.
        SourceError: there is no source to elaborate.
        MissingPackageError: the extra `report` is not installed, and a page is to be written.
        DatasetError: the page cannot be written.
    """
    if output is not None:
        need_for_pages()
    batches = step_batches(batch, keys, prefill_tokens, prefill_sequences)
    gpus = tuple({one.name: one for one in map(gpu_called, several(gpu))}.values()) or GPUS
    workspace = Workspace.of(**part(Where, asked))
    registry = workspace.registry
    request = attrs.evolve(Request.of_models(registry, asked), gpu=gpu_of(several(gpu)))
    request.check_named(several(model_name))
    source = workspace.source()
    of_a_rank = {
        name: option.of_a_rank
        for name, option in registry.options.items()
        if option.of_a_rank is not None
    }
    request = attrs.evolve(request, options={**of_a_rank, **request.options})
    with few_collections():
        found = find_models(
            several(model_name), source, request, registry, progress=workspace.progress
        )
    report = StepReport(
        source=source_label(source),
        gpus=tuple(one.name for one in gpus),
        models=tuple(model_steps(model, batches, gpus, registry) for model in found.models),
        refused=found.refused,
    )
    if output is None:
        return report
    from fibcore.reports.step.page import render

    path = user_path(output, "--output")
    write_page(path, render(report))
    return attrs.evolve(report, output=str(path))
