"""Reference tests on the workers of a Dask cluster, one task for each definition.

Workers may be on machines that share no files with this one. A task therefore carries all that it
needs: the definition, its test module and `conftest.py`, and the files of SGLang's source that the
module names. It returns what the tests said, and this machine writes the evidence.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import attrs

from fibcore.errors import DatasetError, FibcoreError
from fibcore.processes import cluster
from fibcore.processes.limits import Limits
from fibcore.regular_files import read_bytes
from fibcore.sources.finding import find_for_tests
from fibcore.verification.add import CONFTEST
from fibcore.verification.pytest_process import check_installed
from fibcore.verification.result import DefinitionResult
from fibcore.verification.scheduler import run_tests
from fibcore.verification.sglang_files import files_named_in
from fibcore.verification.slots import LocalRun, local_run


@attrs.frozen
class Task:
    """The tests of one definition, with all that they need.

    Attributes:
        name: The definition.
        op_type: Its op type.
        module: Path of its test module, relative to a dataset.
        files: Path to content, relative to a folder that is to hold a dataset in `dataset` and,
            where SGLang's source is known here, some of its package in `sglang`.
        options: Options of the generated conftest.py, without `--sglang`.
        limits: What the definition may use.
    """

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
    definitions: Mapping[str, str],
    options: Sequence[str],
    sglang: Path | None,
    limits: Limits,
    finished: Callable[[DefinitionResult], None],
) -> None:
    """Run the tests of definitions on a cluster.

    Args:
        address: Of the Dask scheduler.
        dataset: The dataset's folder, on this machine.
        modules: Op type, or definition, to the path of its test module, relative to the dataset.
        definitions: Name of each definition to its op type.
        options: Options of the generated conftest.py, without `--sglang`.
        sglang: SGLang's source on this machine; None looks for it as the tests do, and leaves it
            to the workers where there is none.
        limits: What each definition may use. Without a memory limit that is what is free there.
        finished: Called with the result of every definition as its tests end.

    Raises:
        DatasetError: a file that a task needs cannot be read.
        SourceError: there is no SGLang where it is said to be.
        FibcoreError: the cluster cannot be used.
    """
    package = find_for_tests(sglang, dataset)
    shared = {path: _shared_files(dataset, path, package) for path in set(modules.values())}
    tasks = {}
    for name, op_type in definitions.items():
        own = f"definitions/{op_type}/{name}.json"
        module = modules.get(name) or modules[op_type]
        files = {**shared[module], f"dataset/{own}": _read(dataset / own)}
        tasks[name] = Task(name, op_type, module, files, tuple(options), limits)
    with closing(cluster.run_on_cluster(address, run_task, tasks)) as results:
        for result in results:
            if result.value is not None:
                finished(result.value)
            elif result.error is not None:
                crash = _sentence(result.error)
                finished(DefinitionResult(result.name, crash=crash, problem=result.error))


def run_task(task: Task, stop: threading.Event) -> DefinitionResult:
    """Run the tests of a task, on the Dask worker that this is called on.

    The first GPU that the worker sees is used; CUDA_VISIBLE_DEVICES says which that is.

    Args:
        task: The task.
        stop: Ends the tests where it is set.

    Raises:
        FibcoreError: pytest or torch is missing, or pytest cannot run.
    """
    check_installed()
    results: list[DefinitionResult] = []
    with tempfile.TemporaryDirectory(prefix="fibcore-task-") as folder:
        problems = run_tests(_unpack(task, Path(folder)), results.append, stop)
    (result,) = results
    # A module that cannot be collected is the one thing that is no definition's fault.
    problem = result.problem or (problems[0] if problems else None)
    address = cluster.worker_address()
    where = f"{result.worker} of {address}" if address else result.worker
    return attrs.evolve(result, worker=where, problem=problem)


def _unpack(task: Task, folder: Path) -> LocalRun:
    for name, content in task.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    options = list(task.options)
    if (folder / "sglang").is_dir():
        options += ["--sglang", str(folder / "sglang")]
    return local_run(
        folder / "dataset",
        {task.op_type: task.module},
        {task.name: task.op_type},
        options,
        device=options[options.index("--device") + 1],
        jobs=1,
        limits=task.limits,
    )


def _shared_files(dataset: Path, module: str, package: Path | None) -> dict[str, bytes]:
    """What the tests of all definitions of a module need."""
    files = {f"dataset/{path}": _read(dataset / path) for path in (CONFTEST, module)}
    if package is not None:
        text = files[f"dataset/{module}"].decode("utf-8", "replace")
        for path, content in files_named_in(text, package).items():
            files[f"sglang/{path}"] = content
    return files


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise DatasetError(
            "cannot read a file that the tests need",
            where=str(path),
            found=error.strerror or str(error),
        ) from None


def _sentence(error: FibcoreError) -> str:
    return f"{error.message}: {error.found}" if error.found else error.message
