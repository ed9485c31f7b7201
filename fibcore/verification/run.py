"""Runs the reference tests, keeps the evidence and sets the definitions' status by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset.selection import Selection, open_dataset, select
from fibcore.errors import DatasetError, FibcoreError, SourceError, UsageError
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.processes.limits import Limits, WorkerLimits, check_limits
from fibcore.progress import report, report_at
from fibcore.verification.add import CONFTEST, FOLDER, check_tolerance
from fibcore.verification.module_rendering import module_file
from fibcore.verification.pytest_process import check_installed
from fibcore.verification.recording import STEP, Recorder
from fibcore.verification.report import VerifyReport
from fibcore.verification.result import DefinitionResult
from fibcore.verification.scheduler import run_tests
from fibcore.verification.slots import local_run
from fibcore.verification.unchanged import UnchangedTests
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEVICES = ("auto", "cpu", "cuda")
TIMEOUT_S = 1800.0
"""Seconds that a definition gets; the first of an op type may have a GPU's kernels compiled."""


@api(Where)
def verify(
    *,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
    device: str = "auto",
    tolerance: float | None = None,
    evidence_dir: str | Path | None = None,
    jobs: int | None = None,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int | str | None = None,
    dask: str | None = None,
    force: bool = False,
    finished: Callable[[DefinitionResult], None] | None = None,
    **where: Unpack[Where],
) -> VerifyReport:
    """Run reference tests, record the evidence and set `status:verified` by it.

    A definition is verified when its present reference agreed with a ground truth, here or on
    another machine whose evidence is there, and failed nowhere. Else it is `status:unverified`;
    one that has neither tests nor evidence keeps its tags. Without `op_type` and
    `definition_name` every definition of the dataset is concerned.

    The tests of a definition run in a worker process, one for each GPU, or several on the CPU; one
    that crashes, hangs or takes too much memory fails alone. Evidence and status are written as
    definitions end, so an interrupted call keeps what was found until then.

    Tests that passed or were skipped before are not run again on this machine while nothing has
    changed that they depend on: definition, tests, options, packages, SGLang's source.

    Args:
        op_type: Op types whose definitions are concerned.
        definition_name: Single definitions.
        device: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        tolerance: rtol and atol in place of the defaults; the evidence says so.
        evidence_dir: A folder with evidence of another machine, to be taken in.
        jobs: How many workers there are; None for one for each GPU, and on the CPU for as many as
            its cores, its memory and the number of definitions make sensible.
        timeout_s: Seconds that the tests of one definition may take.
        memory_bytes: What a worker may use of its GPU's memory, or of main memory on the CPU, in
            bytes or as text (`16G`, see `fibcore.processes.sizes`). None for a fair share of what
            is free; a definition that needs more than that is run again at the end, alone.
        dask: Address of a Dask scheduler whose workers are to run the tests instead of this
            machine; see `fibcore.processes.connection`.
        force: Run tests again of which nothing has changed.
        finished: Called with the result of every definition as its tests end, after `progress`.
        **where: Where the dataset and SGLang's source are; see `fibcore.workspace.Where`. Without
            a source the tests that need one are skipped, with that reason. `progress` is called
            with the number of definitions whose tests have ended.

    Raises:
        UsageError: an unknown op type, name or device, a number that makes no sense, or `jobs`
            together with `dask`.
        DatasetError: there is no such dataset, or it cannot be written.
        FibcoreError: pytest or torch is missing, pytest cannot run, or the cluster cannot be used.
    """
    evidence = None if evidence_dir is None else Path(evidence_dir)
    limits = check_usage(
        device,
        tolerance,
        evidence,
        jobs=jobs,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        dask=dask,
    )
    workspace = Workspace.of(**where)
    sglang, dataset = _source_root(workspace), workspace.dataset_folder
    store, registry = open_dataset(dataset, workspace.registry)
    selection = select(
        store,
        op_type=several(op_type),
        definition_name=several(definition_name),
        known_op_types=registry.op_types(),
    )
    if dask is None:
        check_installed()
    options = ["--device", device]
    if tolerance is not None:
        options += ["--tolerance", repr(tolerance)]
    modules, problems = _modules(dataset, selection)
    definitions = _with_tests(selection, modules)
    recorder = Recorder(
        store,
        selection.names,
        evidence,
        total=len(definitions),
        progress=workspace.progress,
        finished=finished,
    )
    if definitions:
        report(workspace.progress, STEP, 0, len(definitions))
    try:
        if dask is not None:
            from fibcore.verification.on_cluster import run_on_cluster

            run_on_cluster(
                dask, dataset, modules, definitions, options, sglang, limits, recorder.take
            )
        elif definitions:
            if sglang is not None:
                options += ["--sglang", str(sglang.absolute())]
            work = local_run(dataset, modules, definitions, options, device, jobs, limits)
            earlier = UnchangedTests(work, selection.definitions, sglang)
            known = {} if force else {n: r for n in definitions if (r := earlier.found(n))}
            for result in known.values():
                recorder.take(result)
            left = {name: op for name, op in definitions.items() if name not in known}
            if left:
                work = local_run(dataset, modules, left, options, device, jobs, limits)

                def take(result: DefinitionResult) -> None:
                    recorder.take(attrs.evolve(result, evidence=earlier.marked(result)))

                def begun(names: tuple[str, ...]) -> None:
                    report_at(workspace.progress, STEP, *(names or ("starting workers",)))

                begun(())
                problems += run_tests(work, take, tick=recorder.write_if_due, begun=begun)
    finally:
        recorder.write()  # an interrupted call keeps what was found
    recorder.rest()
    return recorder.report((*selection.problems, *problems))


def _source_root(workspace: Workspace) -> Path | None:
    """The folder of SGLang's source; None where none was asked for and none is there.

    Raises:
        SourceError: what was asked for is no source.
    """
    try:
        return workspace.source().root
    except SourceError:
        if workspace.sglang is not None:
            raise
        return None


def check_usage(
    device: str,
    tolerance: float | None,
    evidence_dir: Path | None,
    **limits: Unpack[WorkerLimits],
) -> Limits:
    """Refuse options of `verify` that make no sense.

    Returns:
        What each definition may use.

    Raises:
        UsageError: with the option and what would be right.
    """
    if device not in DEVICES:
        raise UsageError(
            "no such device", where="--device", expected=", ".join(DEVICES), found=repr(device)
        )
    check_tolerance(tolerance)
    if evidence_dir is not None and not evidence_dir.is_dir():
        raise UsageError("no such folder", where="evidence_dir", found=str(evidence_dir))
    return check_limits(**limits)


def _with_tests(selection: Selection, modules: Mapping[str, str]) -> dict[str, str]:
    """The definitions that have tests, with their op types, the largest first.

    Those with broken files are among them where not single definitions were chosen: their tests say
    what is wrong with them.
    """
    chosen = [d for d in selection.definitions if d.name in selection.names]
    chosen.sort(key=lambda d: (-_size(d), d.name))
    broken = [Path(error.path) for error in selection.errors]
    found = [(d.name, d.op_type) for d in chosen] + [(p.stem, p.parent.name) for p in broken]
    return {name: op_type for name, op_type in found if op_type in modules or name in modules}


def _size(definition: Definition) -> int:
    """Elements of the largest tensor as far as its sizes are constant, to begin with the slowest.

    How long the tests take is not known before; weights are most of the work.
    """
    sizes = definition.const_axes
    specs = (*definition.inputs.values(), *definition.outputs.values())
    return max((math.prod(sizes.get(axis, 1) for axis in s.shape or ()) for s in specs), default=0)


def _modules(dataset: Path, selection: Selection) -> tuple[dict[str, str], list[FibcoreError]]:
    """The test modules by op type or definition, and what to say of those that are missing."""
    modules: dict[str, str] = {}
    problems: list[FibcoreError] = []
    for op_type in sorted(selection.op_types):
        path = f"{FOLDER}/{module_file(op_type)}"
        own = {} if (dataset / path).is_file() else _own_modules(dataset, selection, op_type)
        if own and (dataset / CONFTEST).is_file():
            modules |= own
            continue
        missing = next((p for p in (path, CONFTEST) if not (dataset / p).is_file()), None)
        if missing is None:
            modules[op_type] = path
            continue
        problems.append(
            DatasetError(
                f"the definitions of the op type {op_type} have no tests",
                where=str(dataset),
                expected=missing,
                hint=f"fibcore add-reference-tests --op-type {op_type}",
            )
        )
    return modules, problems


def _own_modules(dataset: Path, selection: Selection, op_type: str) -> dict[str, str]:
    """The modules of single definitions of an op type, of those that have one."""
    paths = {
        d.name: f"{FOLDER}/{module_file(d.name)}"
        for d in selection.of(op_type)
        if d.name in selection.names
    }
    return {name: path for name, path in paths.items() if (dataset / path).is_file()}
