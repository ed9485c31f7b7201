"""A survey on a Dask cluster: one task for each model, in a child process of the worker.

Workers read the SGLang source themselves: from the same path, or from the same release or commit,
which each fetches into its cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from fibcore.errors import FibcoreError
from fibcore.processes.cluster import ClusterError, connect, map_tasks
from fibcore.progress import Progress
from fibcore.reports.survey.plan import Task, told
from fibcore.reports.survey.processes import Child
from fibcore.reports.survey.report import Reason, Row
from fibcore.reports.survey.worker import Setup
from fibcore.sources.finding import find_source
from fibcore.sources.tree import SourceTree


@attrs.frozen
class Job:
    """A task as it travels: with all that a worker needs for it.

    Attributes:
        task: The model.
        spec: What the source was asked for as, absolute where it is a path.
        version: The source's version or commit.
        disable_plugin: Plugins to leave out.
        timeout_s: Seconds of real time for the task.
    """

    task: Task
    spec: str
    version: str | None
    disable_plugin: tuple[str, ...]
    timeout_s: float


_lock = threading.Lock()
_idle: dict[tuple[Setup, float], list[Child]] = {}


def run(
    address: str,
    tasks: Mapping[int, Task],
    source: SourceTree,
    spec: str | None,
    *,
    disable_plugin: tuple[str, ...],
    timeout_s: float,
    progress: Progress | None,
    step: str,
) -> Iterator[tuple[int, Row]]:
    """Number and row of every task, as they come.

    Args:
        address: Of the scheduler; see `fibcore.processes.cluster.connect`.
        tasks: The models by number.
        source: The SGLang source as it is here.
        spec: What was asked for as the source; None for the one in the target dir.
        disable_plugin: Plugins to leave out.
        timeout_s: Seconds of real time for each model.
        progress: Told how many are done.
        step: What it calls the work.

    Raises:
        ClusterError: the cluster cannot be used, or a worker has no such source.
    """
    spec = _travelling(source, spec)
    version = source.version or source.commit
    jobs = {
        str(number): Job(task, spec, version, disable_plugin, timeout_s)
        for number, task in tasks.items()
    }
    with connect(address) as client:
        _check_source(client.run(check_worker, spec, version, on_error="return"), address)
        try:
            for result in map_tasks(client, on_worker, jobs, step=step, progress=progress):
                number = int(result.name)
                if result.value is not None:
                    yield number, result.value
                else:
                    assert result.error is not None
                    reason = Reason("process", result.error.where or "", told(result.error))
                    yield number, tasks[number].row("failed", reasons=(reason,))
        finally:
            if client.status == "running":
                client.run(end_children)


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


def check_worker(spec: str, version: str | None) -> str | None:
    """Why this worker has not the source; None where it has."""
    try:
        source = find_source(spec, Path())
    except FibcoreError as error:
        return told(error)
    found = source.version or source.commit
    return None if found == version else f"{spec} is {found} there and {version} here"


def on_worker(job: Job) -> Row:
    """Look at a model; this runs on a worker."""
    setup = Setup(find_source(job.spec, Path()), job.disable_plugin)
    key = (setup, job.timeout_s)
    with _lock:
        idle = _idle.setdefault(key, [])
        child = idle.pop() if idle else Child(setup, job.timeout_s)
    row = child.run(job.task)
    with _lock:
        idle.append(child)
    return row


def end_children() -> None:
    """End the processes of this worker that wait for tasks; another survey starts its own."""
    with _lock:
        children = [child for idle in _idle.values() for child in idle]
        _idle.clear()
    for child in children:
        child.kill()
        child.reap()
