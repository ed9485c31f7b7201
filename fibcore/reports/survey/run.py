"""`fibcore.survey`: plan, look at every model, write the table."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.errors import UsageError
from fibcore.extraction.report import source_label
from fibcore.extraction.request import (
    CATALOGUE,
    Launched,
    OnGpu,
    Request,
    launch_line,
    sizes_of_a_launch,
)
from fibcore.keywords import api, part, several
from fibcore.model.launch import DEFAULT_GPU, known_gpu, option_text
from fibcore.ops.registry import Registry
from fibcore.pages import need_for_pages
from fibcore.processes import machine
from fibcore.processes.limits import check_limits
from fibcore.progress import report
from fibcore.reports.survey.plan import plan_survey
from fibcore.reports.survey.processes import Setup, examine_all
from fibcore.reports.survey.report import SurveyedModel, SurveyReport
from fibcore.reports.survey.task import Task
from fibcore.sources.tree import SourceTree
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

TIMEOUT_S = 300.0
"""Seconds for a model unless others are asked for; a slow one takes ten on a busy machine."""

_STEP = "elaborating models"


class SurveyAsked(Where, Launched, OnGpu, total=False):
    """The keywords of `survey`: a launch line for all models, a GPU, and where things are."""


@api(SurveyAsked)
def survey(
    *,
    configs: str | Path | Sequence[str | Path] = (),
    model_name: str | Sequence[str] = (),
    tp: int | None = None,
    ep: int | None = None,
    jobs: int | None = None,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int | str | None = None,
    output: str | Path | None = None,
    dask: str | None = None,
    **asked: Unpack[SurveyAsked],
) -> SurveyReport:
    """Elaborate all architectures of a SGLang source and write what they need into a table.

    An architecture's configs are those in `configs` (each is a row), else those of the catalogue,
    else the defaults of its config class in SGLang or transformers. Models are looked at in
    processes of their own; one that hangs, crashes or meets a defect is a failed row.

    Args:
        configs: Folders with config files, at any depth, or single files.
        model_name: Look at these alone: architectures, model files, slugs of the catalogue or of
            `configs`.
        tp: Tensor-parallel size of all models; by default how the catalogue says that a model is
            served, else 1.
        ep: Expert-parallel size, likewise.
        jobs: How many processes; by default one for each core.
        timeout_s: Seconds of real time after which a model is given up.
        memory_bytes: Memory of one process, in bytes or as text (`16G`).
        output: Folder for survey.md, survey.json and survey.html; by default the dataset's
            `reports`.
        dask: Address of a Dask scheduler whose workers are to do the work.
        **asked: How all models are launched, on what, and where the source and the dataset are; see
            `fibcore.extraction.request.Launched`, `OnGpu` and `fibcore.workspace.Where`. A launch
            line that names a model is about that one, unless others are named. Plugins of a
            `registry` do not go to other processes: the work is done in this one, and nothing ends
            a model that hangs.

    Returns:
        The report. Its `exit_code` is 1 where a model failed or a config file cannot be read.

    Raises:
        UsageError: a name or an option is wrong.
        SourceError: there is no source to elaborate.
        ElaborationError: the source holds no models.
        ClusterError: the Dask cluster cannot be used.
        DatasetError: the files cannot be written.
        MissingPackageError: the extra `report` is not installed.
    """
    from fibcore.reports.survey.writing import write

    start = time.perf_counter()
    need_for_pages()
    workspace = Workspace.of(**part(Where, asked))
    request = Request(launch=launch_line(asked.get("launch")), gpu=known_gpu(asked.get("gpu")))
    if request.launch is not None:
        sizes_of_a_launch(tp=tp, ep=ep)
    progress = workspace.progress
    limits = check_limits(jobs=jobs, timeout_s=timeout_s, memory_bytes=memory_bytes, dask=dask)
    _check_registry(workspace.given_registry, jobs, dask)
    workspace.registry.check_there_are_plugins()
    skipped_plugins = workspace.skipped_plugins()
    folder = workspace.dataset_folder / "reports" if output is None else Path(output)
    source = workspace.source()
    report(progress, "looking for configs")
    request = request.for_source(source)
    read = request.read_launch
    folders = [Path(folder) for folder in several(configs)]
    names = several(model_name) or (() if read is None or read.model is None else (read.model,))
    plan = plan_survey(source, configs=folders, names=names, tp=tp, ep=ep)
    tasks = {
        n: _launched(item, request, source)
        for n, item in enumerate(plan.items)
        if isinstance(item, Task)
    }
    rows = {n: item for n, item in enumerate(plan.items) if isinstance(item, SurveyedModel)}
    if dask is not None:
        from fibcore.reports.survey import on_cluster

        rows |= on_cluster.run(
            dask,
            tasks,
            source,
            workspace.sglang,
            disable_plugin=workspace.disable_plugin,
            limits=limits,
            progress=progress,
            step=_STEP,
        )
    else:
        if workspace.given_registry is None:
            setup = Setup(source, workspace.disable_plugin)
            found = examine_all(tasks, setup, jobs or machine.cores(), limits)
        else:
            found = _here(tasks, source, workspace.given_registry)
        report(progress, _STEP, 0, len(tasks))
        with closing(found):  # an interrupt ends the processes at once
            for done, (number, row) in enumerate(found, 1):
                rows[number] = row
                report(progress, _STEP, done, len(tasks))
    result = SurveyReport(
        source=source_label(source),
        rows=tuple(rows[number] for number in sorted(rows)),
        unused=plan.unused,
        output=str(folder),
        served=_served(request),
        skipped_plugins=skipped_plugins,
        seconds=time.perf_counter() - start,
    )
    write(result, folder)
    return result


def _launched(task: Task, request: Request, source: SourceTree) -> Task:
    """A model as it is launched; as without a launch where the catalogue has no line for it."""
    task = attrs.evolve(task, gpu=request.gpu)
    try:
        read = request.for_model(task.model, source).read_launch
    except UsageError:
        note = "the catalogue has no launch line of this model"
        return attrs.evolve(task, notes=(*task.notes, note))
    if read is None:
        return task
    return attrs.evolve(task, tp=read.tp, ep=read.ep, launch=read.launch)


def _served(request: Request) -> str:
    """What else than parallel sizes says how all models are served."""
    read = request.read_launch
    given = {} if read is None else {"tp_size": read.tp, "ep_size": read.ep, **read.launch.given}
    parts = [option_text(name, value) for name, value in given.items()]
    parts += ["as the catalogue launches each"] if request.launch == CATALOGUE else []
    return " ".join(parts + ([f"on {request.gpu}"] if request.gpu != DEFAULT_GPU else []))


def _check_registry(registry: Registry | None, jobs: int | None, dask: str | None) -> None:
    if registry is not None and (dask is not None or jobs is not None):
        raise UsageError(
            "plugins that are objects do not go to other processes",
            where="registry",
            expected="neither jobs nor dask",
        )


def _here(
    tasks: Mapping[int, Task], source: SourceTree, registry: Registry
) -> Generator[tuple[int, SurveyedModel], None, None]:
    from fibcore.reports.survey.examine import examine

    for number, task in tasks.items():
        yield number, examine(task, source, registry)
