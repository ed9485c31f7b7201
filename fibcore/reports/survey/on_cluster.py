"""A survey on a Dask cluster: one task for each model, in a child process of the worker.

Workers read the SGLang source themselves: from the same path, or from the same release or commit,
which each fetches into its cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.errors import FibcoreError
from fibcore.processes.cluster import run_on_cluster
from fibcore.processes.connection import ClusterError
from fibcore.processes.limits import Limits
from fibcore.processes.pool import Worker
from fibcore.progress import Progress
from fibcore.reports.survey.processes import Setup, examine_on, make_worker
from fibcore.reports.survey.report import Reason, SurveyedModel
from fibcore.reports.survey.task import Task
from fibcore.sources.finding import find_source
from fibcore.sources.packages import find_packages
from fibcore.sources.tree import SourceTree

if TYPE_CHECKING:
    from distributed import Client


@attrs.frozen
class Job:
    """A task as it travels: with all that a worker needs for it.

    Attributes:
        task: The model.
        spec: What the source was asked for as, absolute where it is a path.
        version: The source's version or commit.
        disable_plugin: Plugins to leave out.
        limits: What the task may use.
        packages: Packages whose source is read beside it, `NAME=FOLDER`.
    """

    task: Task
    spec: str
    version: str | None
    disable_plugin: tuple[str, ...]
    limits: Limits
    packages: tuple[str, ...] = ()


_lock = threading.Lock()
_idle: dict[tuple[Setup, Limits], list[Worker]] = {}


def run(
    address: str,
    tasks: Mapping[int, Task],
    source: SourceTree,
    spec: str | None,
    *,
    disable_plugin: tuple[str, ...],
    limits: Limits,
    progress: Progress | None,
    step: str,
) -> Iterator[tuple[int, SurveyedModel]]:
    """Number and row of every task, as they come.

    Args:
        address: Of the scheduler; see `fibcore.processes.connection.connect`.
        tasks: The models by number.
        source: The SGLang source as it is here.
        spec: What was asked for as the source; None for the one in the target dir.
        disable_plugin: Plugins to leave out.
        limits: What each model may use.
        progress: Called with the number of models that are done.
        step: What it calls the work.

    Raises:
        ClusterError: the cluster cannot be used, or a worker has no such source.
    """
    spec = _travelling(source, spec)
    version = source.version or source.commit
    packages = tuple(f"{p.name}={Path(p.tree.root).absolute()}" for p in source.packages)
    jobs = {
        str(number): Job(task, spec, version, disable_plugin, limits, packages)
        for number, task in tasks.items()
    }

    def check(client: Client) -> None:
        said = client.run(check_worker, spec, version, packages, on_error="return")
        _check_source(said, address)

    results = run_on_cluster(
        address,
        examine_here,
        jobs,
        check=check,
        at_end=end_workers,
        step=step,
        progress=progress,
    )
    with closing(results):
        for result in results:
            number = int(result.name)
            if result.value is not None:
                yield number, result.value
            else:
                assert result.error is not None
                reason = Reason("process", result.error.where or "", result.error.summary)
                yield number, tasks[number].surveyed("failed", reasons=(reason,))


def _travelling(source: SourceTree, spec: str | None) -> str:
    """A spec that means the same where a worker runs."""
    fetched = spec is not None and (spec.startswith("pypi:") or "://" in spec)
    if spec is not None and (fetched or spec == "installed"):
        return spec
    return str(Path(source.root).absolute())


def _check_source(said: Mapping[str, object], address: str) -> None:
    wrong = {worker: answer for worker, answer in said.items() if answer is not None}
    if wrong:
        raise ClusterError(
            "workers of the Dask cluster cannot read the SGLang source",
            where=address,
            found="; ".join(f"{worker}: {answer}" for worker, answer in sorted(wrong.items())),
            hint="give --sglang a folder that all workers see, or pypi:sglang==VERSION",
        )


def check_worker(spec: str, version: str | None, packages: tuple[str, ...] = ()) -> str | None:
    """Why this worker has not the source, or one of the packages; None where it has."""
    try:
        source = _with_packages(spec, packages)
    except FibcoreError as error:
        return error.summary
    found = source.version or source.commit
    return None if found == version else f"{spec} is {found} there and {version} here"


def _with_packages(spec: str, packages: tuple[str, ...]) -> SourceTree:
    """The source that a worker reads, and the packages beside it."""
    source = find_source(spec, Path())
    return attrs.evolve(source, packages=find_packages(packages, source, Path()))


def examine_here(job: Job, stop: threading.Event) -> SurveyedModel:
    """Look at a model, on the Dask worker that this is called on."""
    setup = Setup(_with_packages(job.spec, job.packages), job.disable_plugin)
    with _lock:
        idle = _idle.setdefault((setup, job.limits), [])
        worker = idle.pop() if idle else make_worker(setup, job.limits)
    try:
        return examine_on(worker, job.task, stop)
    finally:
        with _lock:
            idle.append(worker)


def end_workers() -> None:
    """End the processes of this Dask worker that wait for tasks; another survey starts its own."""
    with _lock:
        workers = [worker for idle in _idle.values() for worker in idle]
        _idle.clear()
    for worker in workers:
        worker.close()
