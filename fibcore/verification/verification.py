"""Runs the reference tests, keeps the evidence and sets the definitions' status by it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset import Dataset
from fibcore.errors import DatasetError, FibcoreError, UsageError
from fibcore.model.definition import Definition
from fibcore.verification import machine
from fibcore.verification.add import CONFTEST, FOLDER
from fibcore.verification.evidence import evidence_path, judge, merge_run, read_runs, to_json
from fibcore.verification.render import module_file
from fibcore.verification.report import Failure, VerifiedDefinition, VerifyReport
from fibcore.verification.runner import DefinitionRun, Plan, check_installed, run_tests
from fibcore.verification.selection import Selection, open_dataset, select
from fibcore.verification.worker import Limits

if TYPE_CHECKING:
    from fibcore.ops.registry import Registry

DEVICES = ("auto", "cpu", "cuda")
TIMEOUT_S = 1800.0
"""Seconds that a definition gets; the first of an op type may have a GPU's kernels compiled."""

WRITING_SHARE = 10.0
"""Times as long as it took to record what ended that the next time has to wait."""


@attrs.frozen
class Progress:
    """How far the tests are.

    Attributes:
        done: Definitions whose tests have ended.
        total: Definitions whose tests are run.
        definition: The one that ended last.
        outcome: "passed", "failed", "skipped" or "incomplete".
        worker: Where its tests ran.
        seconds: How long they took; None where they did not come to their end.
    """

    done: int
    total: int
    definition: str
    outcome: str
    worker: str = ""
    seconds: float | None = None


def verify(
    *,
    dataset: Path,
    op_type: Sequence[str] = (),
    definition_name: Sequence[str] = (),
    device: str = "auto",
    tolerance: float | None = None,
    sglang: Path | None = None,
    evidence_dir: Path | None = None,
    jobs: int | None = None,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int | None = None,
    dask: str | None = None,
    registry: Registry | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> VerifyReport:
    """Run reference tests, record the evidence and set `status:verified` by it.

    A definition is verified when its present reference agreed with a ground truth, here or on
    another machine whose evidence is there, and failed nowhere. Else it is `status:unverified`;
    one that has neither tests nor evidence keeps its tags. Without `op_type` and
    `definition_name` every definition of the dataset is concerned.

    The tests of a definition run in a worker process, one for each GPU, or several on the CPU; one
    that crashes, hangs or takes too much memory fails alone. Evidence and status are written as
    definitions end, so an interrupted call keeps what was found until then.

    Args:
        dataset: The dataset's folder.
        op_type: Op types whose definitions are concerned.
        definition_name: Single definitions.
        device: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        tolerance: rtol and atol in place of the defaults; the evidence says so.
        sglang: SGLang's source; None looks for it as the tests do.
        evidence_dir: A folder with evidence of another machine, to be taken in.
        jobs: How many workers there are; None for one for each GPU, and on the CPU for as many as
            its cores, its memory and the number of definitions make sensible.
        timeout_s: Seconds that the tests of one definition may take.
        memory_bytes: What a worker may use of its GPU's memory, or of main memory on the CPU. None
            for a fair share of what is free; a definition that needs more than that is run again
            at the end, alone.
        dask: Address of a Dask scheduler whose workers are to run the tests instead of this
            machine; see `fibcore.processes.cluster`.
        registry: The plugins; the installed ones if None.
        progress: Is told of every definition whose tests ended.

    Raises:
        UsageError: an unknown op type, name or device, a number that makes no sense, or `jobs`
            together with `dask`.
        DatasetError: there is no such dataset, or it cannot be written.
        FibcoreError: pytest or torch is missing, pytest cannot run, or the cluster cannot be used.
    """
    check_usage(device, tolerance, evidence_dir, jobs, timeout_s, memory_bytes, dask)
    store, registry = open_dataset(dataset, registry)
    selection = select(
        store,
        op_type=op_type,
        definition_name=definition_name,
        known_op_types=registry.op_types(),
    )
    if dask is None:
        check_installed()
    options = ["--device", device]
    if tolerance is not None:
        options += ["--tolerance", repr(tolerance)]
    modules, problems = _modules(dataset, selection)
    units = _units(selection, modules)
    recorder = _Recorder(store, selection.names, evidence_dir, len(units), progress)
    limits = Limits(timeout_s, memory_bytes)
    try:
        if dask is not None:
            from fibcore.verification.remote import run_on_cluster

            run_on_cluster(
                dask, dataset, modules, units, options, sglang, limits, finished=recorder.take
            )
        elif units:
            if sglang is not None:
                options += ["--sglang", str(sglang.absolute())]
            plan = local_plan(dataset, modules, units, options, device, jobs, limits)
            problems += run_tests(plan, recorder.take, tick=recorder.write_if_due)
    finally:
        recorder.write()  # an interrupted call keeps what was found
    recorder.rest()
    return recorder.report((*selection.errors, *problems))


def check_usage(
    device: str,
    tolerance: float | None,
    evidence_dir: Path | None,
    jobs: int | None,
    timeout_s: float,
    memory_bytes: int | None,
    dask: str | None,
) -> None:
    """Refuse options of `verify` that make no sense.

    Raises:
        UsageError: with the option and what would be right.
    """
    if device not in DEVICES:
        raise UsageError(
            "no such device", where="--device", expected=", ".join(DEVICES), found=repr(device)
        )
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(
            "no such tolerance",
            where="--tolerance",
            expected="a number of at least 0",
            found=repr(tolerance),
        )
    if evidence_dir is not None and not evidence_dir.is_dir():
        raise UsageError("no such folder", where="evidence_dir", found=str(evidence_dir))
    for option, value in (("--jobs", jobs), ("--memory-limit", memory_bytes)):
        if value is not None and value < 1:
            raise UsageError(
                "too small a number", where=option, expected="at least 1", found=repr(value)
            )
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise UsageError(
            "no such time limit",
            where="--timeout",
            expected="seconds, more than 0",
            found=repr(timeout_s),
        )
    if dask is not None and jobs is not None:
        raise UsageError(
            "the workers of a Dask cluster are started where they run",
            where="--jobs",
            expected="either --jobs or --dask",
        )


def local_plan(
    dataset: Path,
    modules: Mapping[str, str],
    units: Mapping[str, str],
    options: Sequence[str],
    device: str,
    jobs: int | None,
    limits: Limits,
) -> Plan:
    """How definitions are to be spread over this machine.

    Args:
        dataset: The dataset's folder.
        modules: Op type to the path of its test module, relative to the dataset.
        units: Name of each definition to its op type.
        options: Options of the generated conftest.py.
        device: "auto", "cpu" or "cuda".
        jobs: How many workers there are to be; None for what is sensible.
        limits: What each definition may use, as the caller gave it.
    """
    gpus = machine.find_gpus() if device != "cpu" else ()
    gpu_memory, memory = (limits.memory_bytes, None) if gpus else (None, limits.memory_bytes)
    slots = machine.make_slots(gpus, len(units), jobs=jobs, gpu_memory_bytes=gpu_memory)
    alone = memory
    free = machine.free_memory_bytes()
    if memory is None and free is not None:
        alone = int(machine.SHARE * free)
        memory = alone // len(slots)
    return Plan(
        dataset=dataset,
        modules=modules,
        units=units,
        options=options,
        slots=slots,
        limits=Limits(limits.timeout_s, memory),
        alone=Limits(limits.timeout_s, alone),
    )


def _units(selection: Selection, modules: Mapping[str, str]) -> dict[str, str]:
    """The definitions that have tests, with their op types, the largest first.

    Those with broken files are among them where not single definitions were chosen: their tests say
    what is wrong with them.
    """
    chosen = [d for d in selection.definitions if d.name in selection.names]
    chosen.sort(key=lambda d: (-_size(d), d.name))
    broken = [Path(error.path) for error in selection.errors]
    found = [(d.name, d.op_type) for d in chosen] + [(p.stem, p.parent.name) for p in broken]
    return {name: op_type for name, op_type in found if op_type in modules}


def _size(definition: Definition) -> int:
    """Elements of the largest tensor as far as its sizes are constant, to begin with the slowest.

    How long the tests take is not known before; weights are most of the work.
    """
    sizes = definition.const_axes
    specs = (*definition.inputs.values(), *definition.outputs.values())
    return max((math.prod(sizes.get(axis, 1) for axis in s.shape or ()) for s in specs), default=0)


def _modules(dataset: Path, selection: Selection) -> tuple[dict[str, str], list[FibcoreError]]:
    """The test modules by op type, and what to say of those that are missing."""
    modules: dict[str, str] = {}
    problems: list[FibcoreError] = []
    for op_type in sorted(selection.op_types):
        path = f"{FOLDER}/{module_file(op_type)}"
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


def _failure(record: Mapping[str, Any]) -> Failure:
    return Failure(str(record["nodeid"]), str(record.get("reason", "")))


def _is_broken_file(record: Mapping[str, Any]) -> bool:
    return bool(record["result"] == "failed" and record["expected_tests"] is None)


class _Recorder:
    """Writes evidence and status of definitions as they end, under the dataset's lock.

    Taking the lock has the dataset read, which costs more the larger it is. What ends while that
    would be most of the work is written together, a little later.
    """

    def __init__(
        self,
        dataset: Dataset,
        names: Collection[str],
        evidence_dir: Path | None,
        total: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.dataset = dataset
        self.names = names
        self.evidence_dir = evidence_dir
        self.total = total
        self.progress = progress
        self.runs: dict[str, DefinitionRun] = {}
        self.unwritten: list[DefinitionRun] = []
        self.due = 0.0
        self.definitions: dict[str, VerifiedDefinition] = {}
        self.problems: list[FibcoreError] = []

    def take(self, run: DefinitionRun) -> None:
        """Record what came of the tests of one definition."""
        self.runs[run.name] = run
        if run.problem is not None:
            self.problems.append(run.problem)
        if run.name in self.names:  # the others are files that hold no definition
            self.unwritten.append(run)
        self.write_if_due()
        if self.progress is not None:
            done = len(self.runs)
            self.progress(
                Progress(done, self.total, run.name, run.outcome, run.worker, run.seconds)
            )

    def write_if_due(self) -> None:
        """Record what ended, unless that was done a moment ago."""
        if self.unwritten and time.monotonic() >= self.due:
            start = time.monotonic()
            self.write()
            end = time.monotonic()
            self.due = end + WRITING_SHARE * (end - start)

    def write(self) -> None:
        """Record what ended."""
        runs, self.unwritten = self.unwritten, []
        if not runs:
            return
        with self._reported(), self.dataset.locked():
            for run in runs:
                with self._reported():
                    self._record(run)

    def rest(self) -> None:
        """Record what is known of definitions without tests."""
        left = sorted(set(self.names) - self.runs.keys())
        self.unwritten += [DefinitionRun(name) for name in left]
        self.write()

    def report(self, problems: Sequence[FibcoreError]) -> VerifyReport:
        """What was found, with these problems before those of single definitions."""
        records = [record for name in sorted(self.runs) for record in self.runs[name].records]
        counts = Counter(record["result"] for record in records)
        reasons = Counter(r["reason"] for r in records if r["result"] == "skipped")
        return VerifyReport(
            dataset=self.dataset.root,
            definitions=tuple(self.definitions[name] for name in sorted(self.definitions)),
            passed=counts["passed"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            skip_reasons=dict(sorted(reasons.items())),
            broken=tuple(_failure(r) for r in records if _is_broken_file(r)),
            problems=(*problems, *self.problems),
        )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """What cannot be recorded is a problem, and the others go on."""
        try:
            yield
        except DatasetError as error:
            self.problems.append(error)

    def _record(self, ran: DefinitionRun) -> None:
        definition = self.dataset.get(ran.name)  # as it is now; tests take a while
        if definition is None:
            raise DatasetError("the definition is gone", where=ran.name)
        self.definitions[ran.name] = self._recorded(definition, ran)

    def _recorded(self, definition: Definition, ran: DefinitionRun) -> VerifiedDefinition:
        name = definition.name
        path = evidence_path(name)
        present = definition.reference_hash
        known = runs = read_runs(self.dataset.root / path)
        if self.evidence_dir is not None:
            for run in read_runs(self.evidence_dir / f"{name}.json"):
                if run["reference_sha256"] == present:
                    runs = merge_run(runs, run)
        new = ran.evidence
        if new is not None and new["reference_sha256"] == present:
            runs = merge_run(runs, new)
        if runs != known:
            self.dataset.write(path, to_json(name, definition.op_type, runs))
        verdict = judge(present, runs)
        own = ran.records
        counts = Counter(record["result"] for record in own)
        crashes = [] if ran.crash is None else [ran.crash]
        if own and new is None and not crashes:
            crashes = ["its tests did not run to the end"]
        reasons = tuple(dict.fromkeys((*crashes, *verdict.reasons)))
        verified = verdict.verified and not crashes and not counts["failed"]
        changed = False
        if own or runs or crashes:
            changed = self.dataset.set_status(name, verified, reference_hash=present)
        else:
            reasons = ("it has neither tests nor evidence; its status stays as it is",)
            verified = "status:verified" in definition.tags
        return VerifiedDefinition(
            name=name,
            op_type=definition.op_type,
            verified=verified,
            changed=changed,
            ground_truths=verdict.ground_truths if verified else (),
            reasons=() if verified and (own or runs) else reasons,
            passed=counts["passed"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            failures=tuple(_failure(r) for r in own if r["result"] == "failed")
            + tuple(Failure(name, why) for why in crashes),
            worker=ran.worker,
            seconds=ran.seconds,
            memory_bytes=ran.memory_bytes,
            gpu_memory_bytes=ran.gpu_memory_bytes,
        )
