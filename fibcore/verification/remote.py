"""Runs reference tests on the workers of a Dask cluster, one task for each definition.

Workers may be on machines that share no files with this one. A task therefore carries all that it
needs: the definition, its test module and `conftest.py`, and the files of SGLang's source that the
module names. It returns what the tests said, and this machine writes the evidence.
"""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.errors import DatasetError, FibcoreError
from fibcore.processes.cluster import connect, map_tasks
from fibcore.sources.finding import find_for_tests
from fibcore.verification import machine
from fibcore.verification.add import CONFTEST
from fibcore.verification.carried import carried_files
from fibcore.verification.runner import DefinitionRun, Plan, check_installed, run_tests
from fibcore.verification.worker import Limits

if TYPE_CHECKING:
    from distributed import Client


@attrs.frozen
class Task:
    """The tests of one definition, with all that they need.

    Attributes:
        call: The call of `run_on_cluster` that it is of.
        name: The definition.
        op_type: Its op type.
        module: Path of its test module, relative to a dataset.
        files: Path to content, relative to a folder that is to hold a dataset in `dataset` and,
            where SGLang's source is known here, some of its package in `sglang`.
        options: Options of the generated conftest.py, without `--sglang`.
        limits: What the definition may use.
    """

    call: str
    name: str
    op_type: str
    module: str
    files: Mapping[str, bytes]
    options: tuple[str, ...]
    limits: Limits


def run_on_cluster(
    address: str,
    dataset: Path,
    modules: Mapping[str, str],
    units: Mapping[str, str],
    options: Sequence[str],
    sglang: Path | None,
    limits: Limits,
    finished: Callable[[DefinitionRun], None],
) -> None:
    """Run the tests of definitions on a cluster.

    Args:
        address: Of the Dask scheduler.
        dataset: The dataset's folder, on this machine.
        modules: Op type to the path of its test module, relative to the dataset.
        units: Name of each definition to its op type.
        options: Options of the generated conftest.py, without `--sglang`.
        sglang: SGLang's source on this machine; None looks for it as the tests do, and leaves it
            to the workers where there is none.
        limits: What each definition may use. Without a memory limit that is what is free there.
        finished: Is told of every definition when its tests have ended.

    Raises:
        DatasetError: a file that a task needs cannot be read.
        SourceError: there is no SGLang where it is said to be.
        FibcoreError: the cluster cannot be used.
    """
    call = uuid.uuid4().hex
    package = find_for_tests(sglang, dataset)
    shared = {path: _shared_files(dataset, path, package) for path in set(modules.values())}
    tasks = {}
    for name, op_type in units.items():
        own = f"definitions/{op_type}/{name}.json"
        files = {**shared[modules[op_type]], f"dataset/{own}": _read(dataset / own)}
        tasks[name] = Task(call, name, op_type, modules[op_type], files, tuple(options), limits)
    with connect(address) as client:
        results = map_tasks(client, run_task, tasks)
        try:
            for result in results:
                if result.value is not None:
                    finished(result.value)
                elif result.error is not None:
                    finished(
                        DefinitionRun(
                            result.name, crash=_sentence(result.error), problem=result.error
                        )
                    )
        except BaseException:
            # What runs on a worker cannot be cancelled by Dask; its processes can be ended.
            results.close()
            _stop_on_workers(client, call)
            raise


_RUNNING: dict[str, list[threading.Event]] = {}
_LOCK = threading.Lock()


def run_task(task: Task) -> DefinitionRun:
    """Run the tests of a task, on the Dask worker that this is called on.

    The first GPU that the worker sees is used; CUDA_VISIBLE_DEVICES says which that is.

    Raises:
        FibcoreError: pytest or torch is missing, or pytest cannot run.
    """
    check_installed()
    runs: list[DefinitionRun] = []
    stop = threading.Event()
    with _LOCK:
        _RUNNING.setdefault(task.call, []).append(stop)
    try:
        with tempfile.TemporaryDirectory(prefix="fibcore-task-") as folder:
            problems = run_tests(_unpack(task, Path(folder)), runs.append, stop)
    finally:
        with _LOCK:
            _RUNNING[task.call].remove(stop)
            if not _RUNNING[task.call]:
                del _RUNNING[task.call]
    (run,) = runs
    # A module that cannot be collected is the one thing that is no definition's fault.
    problem = run.problem or (problems[0] if problems else None)
    return attrs.evolve(run, worker=_where(run.worker), problem=problem)


def stop_tasks(call: str) -> int:
    """End what runs here of a call of `run_on_cluster`; how many tasks that were."""
    with _LOCK:
        events = list(_RUNNING.get(call, ()))
    for event in events:
        event.set()
    return len(events)


def _unpack(task: Task, folder: Path) -> Plan:
    for name, content in task.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    options = list(task.options)
    if (folder / "sglang").is_dir():
        options += ["--sglang", str(folder / "sglang")]
    device = options[options.index("--device") + 1]
    gpus = machine.find_gpus()[:1] if device != "cpu" else ()
    memory = None if gpus else task.limits.memory_bytes
    free = machine.free_memory_bytes()
    if memory is None and free is not None:
        memory = int(machine.SHARE * free)
    gpu_memory = task.limits.memory_bytes if gpus else None
    limits = Limits(task.limits.timeout_s, memory)
    return Plan(
        dataset=folder / "dataset",
        modules={task.op_type: task.module},
        units={task.name: task.op_type},
        options=options,
        slots=machine.make_slots(gpus, 1, jobs=1, gpu_memory_bytes=gpu_memory),
        limits=limits,
        alone=limits,
    )


def _where(label: str) -> str:
    """A slot of the machine of a Dask worker, for people elsewhere."""
    from distributed import get_worker

    with suppress(ValueError):  # called on no Dask worker
        return f"{label} of {get_worker().address}"
    return label


def _stop_on_workers(client: Client, call: str) -> None:
    if client.status == "running":
        with suppress(OSError, TimeoutError):
            client.run(stop_tasks, call, on_error="ignore")


def _shared_files(dataset: Path, module: str, package: Path | None) -> dict[str, bytes]:
    """What the tests of all definitions of a module need."""
    files = {f"dataset/{path}": _read(dataset / path) for path in (CONFTEST, module)}
    if package is not None:
        text = files[f"dataset/{module}"].decode("utf-8", "replace")
        for path, content in carried_files(text, package).items():
            files[f"sglang/{path}"] = content
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(
            "cannot read a file that the tests need",
            where=str(path),
            found=error.strerror or str(error),
        ) from None


def _sentence(error: FibcoreError) -> str:
    return f"{error.message}: {error.found}" if error.found else error.message
