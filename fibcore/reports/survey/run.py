"""`fibcore.survey`: plan, look at every model, write the table."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from fibcore.errors import UsageError
from fibcore.extraction.run import dataset_folder, source_label
from fibcore.ops.registry import Registry, load_plugins
from fibcore.pages import need_for_pages
from fibcore.processes import machine
from fibcore.processes.limits import check_limits
from fibcore.progress import Progress, report
from fibcore.reports.survey.plan import Task, make_plan
from fibcore.reports.survey.processes import Setup, examine_all
from fibcore.reports.survey.report import Row, SurveyReport
from fibcore.sources.finding import find_source
from fibcore.sources.tree import SourceTree

TIMEOUT_S = 300.0
"""Seconds for a model unless others are asked for; a slow one takes ten on a busy machine."""

_STEP = "elaborating models"


def survey(
    *,
    target_dir: str | Path = "./repos",
    dataset: str | Path | None = None,
    sglang: str | None = None,
    configs: str | Path | Sequence[str | Path] = (),
    model_name: str | Sequence[str] = (),
    tp: int | None = None,
    ep: int | None = None,
    jobs: int | None = None,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int | str | None = None,
    output: str | Path | None = None,
    dask: str | None = None,
    registry: Registry | None = None,
    disable_plugin: Sequence[str] = (),
    progress: Progress | None = None,
) -> SurveyReport:
    """Elaborate all architectures of a SGLang source and write what they need into a table.

    An architecture's configs are those in `configs` (each is a row), else those of the catalogue,
    else the defaults of its config class in SGLang or transformers. Models are looked at in
    processes of their own; one that hangs, crashes or meets a defect is a failed row.

    Args:
        target_dir: Folder that holds the repositories.
        dataset: Folder of the dataset; by default the flashinfer-trace repository in `target_dir`.
        sglang: Where SGLang's source is: URL, path, `pypi:NAME==VERSION`, `installed`, `auto`; by
            default the repository in `target_dir`.
        configs: Folders with config files, at any depth, or single files.
        model_name: Look at these alone: architectures, model files, slugs of the catalogue or of
            `configs`.
        tp: Tensor-parallel size of all models; by default how the catalogue says that a model is
            served, else 1.
        ep: Expert-parallel size, likewise.
        jobs: How many processes; by default one for each core.
        timeout_s: Seconds of real time after which a model is given up.
        memory_bytes: Main memory of one process, in bytes or as text (`16G`), above which its model
            is given up; None for no limit.
        output: Folder for survey.md, survey.json and survey.html; by default the dataset's
            `reports`.
        dask: Address of a Dask scheduler whose workers are to do the work.
        registry: The plugins as objects. They do not go to other processes: the work is done in
            this one, and nothing ends a model that hangs. By default all that are installed.
        disable_plugin: Plugins to leave out, by name, where no registry is given.
        progress: Called with the step, and how far it is.

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

    need_for_pages()
    start = time.perf_counter()
    folders = (configs,) if isinstance(configs, (str, Path)) else tuple(configs)
    names = (model_name,) if isinstance(model_name, str) else tuple(model_name)
    limits = check_limits(jobs=jobs, timeout_s=timeout_s, memory_bytes=memory_bytes, dask=dask)
    _check_registry(registry, jobs, dask)
    here = load_plugins(disable=disable_plugin) if registry is None else registry
    folder = dataset_folder(target_dir, dataset) / "reports" if output is None else Path(output)
    source = find_source(sglang, Path(target_dir), progress=progress)
    report(progress, "looking for configs")
    plan = make_plan(source, configs=[Path(f) for f in folders], names=names, tp=tp, ep=ep)
    tasks = {n: item for n, item in enumerate(plan.items) if isinstance(item, Task)}
    rows = {n: item for n, item in enumerate(plan.items) if isinstance(item, Row)}
    if dask is not None:
        from fibcore.reports.survey import on_cluster

        rows |= on_cluster.run(
            dask,
            tasks,
            source,
            sglang,
            disable_plugin=tuple(disable_plugin),
            limits=limits,
            progress=progress,
            step=_STEP,
        )
    else:
        found = (
            examine_all(
                tasks, Setup(source, tuple(disable_plugin)), jobs or machine.cores(), limits
            )
            if registry is None
            else _here(tasks, source, registry)
        )
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
        skipped_plugins=tuple(f"{p.label}: {p.cause}: {p.reason}" for p in here.skipped()),
        seconds=time.perf_counter() - start,
    )
    write(result, folder)
    return result


def _check_registry(registry: Registry | None, jobs: int | None, dask: str | None) -> None:
    if registry is not None and (dask is not None or jobs is not None):
        raise UsageError(
            "plugins that are objects do not go to other processes",
            where="registry",
            expected="neither jobs nor dask",
        )


def _here(
    tasks: Mapping[int, Task], source: SourceTree, registry: Registry
) -> Generator[tuple[int, Row], None, None]:
    from fibcore.reports.survey.examine import examine

    for number, task in tasks.items():
        yield number, examine(task, source, registry)
