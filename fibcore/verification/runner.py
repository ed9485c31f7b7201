"""Runs a dataset's reference tests in worker processes, definition by definition.

Each worker is a pytest process that imports torch and collects the tests once, and then runs the
tests of one definition after the other as it is told to. One that dies, hangs or takes too much
memory costs the definition that it was at; a new process takes its place.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.verification.machine import Slot
from fibcore.verification.worker import End, Limits, Worker

POLL_S = 0.02
CLOSE_S = 10.0
"""Seconds that a process gets to end by itself when there is nothing more to run."""

STARTS = 3
"""Times that a worker is started without getting anywhere before it is given up."""


@attrs.frozen
class DefinitionRun:
    """What came of the tests of one definition.

    Attributes:
        name: The definition.
        records: One for every test that ended: definition, kind, result, reason; and `nodeid`.
        evidence: The run that its evidence gets; None where the tests did not come to their end.
        crash: What became of the process that ran them, if it did not survive it.
        problem: The same with what the process last said, for people.
        worker: Where they ran: "CPU", "GPU 1", the address of a machine.
        seconds: How long they took.
        memory_bytes: The most main memory that the process occupied meanwhile, where known.
        gpu_memory_bytes: The most GPU memory that torch reserved; None without a GPU.
    """

    name: str
    records: tuple[Mapping[str, Any], ...] = ()
    evidence: Mapping[str, Any] | None = None
    crash: str | None = None
    problem: FibcoreError | None = None
    worker: str = ""
    seconds: float | None = None
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None

    @property
    def outcome(self) -> str:
        """What the evidence says: "passed", "failed", "skipped" or "incomplete"."""
        counts = Counter(record["result"] for record in self.records)
        if self.crash is not None or counts["failed"]:
            return "failed"
        if self.evidence is not None:
            return str(self.evidence["result"])
        return "passed" if counts["passed"] else "skipped"


@attrs.frozen
class Plan:
    """What is to be run, and where.

    Attributes:
        dataset: The dataset's folder.
        modules: Op type to the path of its test module, relative to the dataset.
        units: Name of each definition to its op type, in the order in which they are to run.
        options: Options of the generated conftest.py.
        slots: Places for workers.
        limits: What each definition may use.
        alone: What a definition may use that is run again while no other is, because its process
            was ended for memory.
    """

    dataset: Path
    modules: Mapping[str, str]
    units: Mapping[str, str]
    options: Sequence[str]
    slots: Sequence[Slot]
    limits: Limits
    alone: Limits


def check_installed() -> None:
    """Refuse to go on where the tests cannot run.

    Raises:
        FibcoreError: pytest or torch is not installed for this interpreter.
    """
    missing = [name for name in ("pytest", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        raise FibcoreError(
            "the reference tests need pytest and torch",
            where=sys.executable,
            found=f"not installed: {', '.join(missing)}",
            hint="pip install 'fibcore[test]', or "
            "pytest tests/references --evidence reports/verification in another environment",
        )


def run_tests(
    plan: Plan,
    finished: Callable[[DefinitionRun], None],
    stop: threading.Event | None = None,
    tick: Callable[[], None] | None = None,
) -> list[FibcoreError]:
    """Run the tests of definitions; every definition of the plan is told of once.

    Args:
        plan: What is to be run.
        finished: Is told of every definition when its tests have ended, in this thread.
        stop: Ends the work early where it is set.
        tick: Is called over and over meanwhile, in this thread.

    Returns:
        What kept tests from running that is no definition's fault.

    Raises:
        FibcoreError: pytest could not begin, or `stop` was set.
    """
    with tempfile.TemporaryDirectory(prefix="fibcore-verify-") as folder:
        scheduler = _Scheduler(plan, Path(folder), finished, stop, tick)
        try:
            scheduler.run()
        finally:
            scheduler.kill()  # however this ends, no process stays behind
    return scheduler.problems


@attrs.define
class _Seat:
    """A slot and the worker that is there now.

    Attributes:
        slot: The place.
        worker: The process; None where none runs.
        records: Of the definition that its tests are at.
        retry: The definition that the next process is to begin with.
        failed_starts: Processes in a row that did not get as far as a definition.
        closing_since: When the process was told that there is nothing more to run.
    """

    slot: Slot
    worker: Worker | None = None
    records: list[Mapping[str, Any]] = attrs.field(factory=list)
    retry: str | None = None
    failed_starts: int = 0
    closing_since: float | None = None

    @property
    def given_up(self) -> bool:
        return self.failed_starts >= STARTS


class _Scheduler:
    """Keeps the seats occupied until every definition was told of."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        finished: Callable[[DefinitionRun], None],
        stop: threading.Event | None,
        tick: Callable[[], None] | None,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.finished = finished
        self.stop = stop
        self.tick = tick
        self.problems: list[FibcoreError] = []
        self.queue = list(plan.units)
        self.heavy: list[str] = []
        self.modules = dict(plan.modules)
        self.limits = plan.limits
        self.alone = False
        self.seats = [_Seat(slot) for slot in plan.slots]
        self.warm: set[str] = set()
        self.known_errors: set[str] = set()
        self.started = 0
        self.worked = False

    def run(self) -> None:
        """Run all definitions, and those that need the machine for themselves at the end."""
        self._loop()
        if self.heavy:
            self.queue, self.heavy, self.alone = self.heavy, [], True
            self.limits = self.plan.alone
            self.seats = self.seats[:1]
            self._loop()

    def kill(self) -> None:
        """End all processes."""
        for seat in self.seats:
            if seat.worker is not None:
                seat.worker.kill_group()  # all at once, then wait for each
        for seat in self.seats:
            if seat.worker is not None:
                seat.worker.kill()
                seat.worker = None

    def _loop(self) -> None:
        while True:
            if self.stop is not None and self.stop.is_set():
                raise FibcoreError("the run was cancelled")
            for seat in self.seats:
                self._tend(seat)
            if all(seat.worker is None for seat in self.seats):
                if not self.queue and not any(seat.retry for seat in self.seats):
                    return
                if all(seat.given_up for seat in self.seats):
                    raise FibcoreError(
                        "no worker process can be started any more",
                        where=str(self.plan.dataset),
                        found=str(self.problems[-1]) if self.problems else None,
                    )
            if self.tick is not None:
                self.tick()
            time.sleep(POLL_S)

    def _tend(self, seat: _Seat) -> None:
        """Take in what a seat's process said, and give it the next thing to do."""
        worker = seat.worker
        if worker is None:
            if (self.queue or seat.retry) and not seat.given_up:
                seat.worker = self._start(seat)
            return
        gone = worker.ended()  # asked first, so that nothing it said is missed
        for event in worker.poll():
            self._handle(seat, worker, event)
        if gone:
            seat.worker = None
            worker.kill()  # what it started may still be there
            self._gone(seat, worker)
        elif seat.closing_since is not None:
            if time.monotonic() - seat.closing_since > CLOSE_S:
                worker.kill_group()
        elif worker.ready and worker.definition is None:
            name, seat.retry = seat.retry or self._next(seat.slot), None
            if name is None:
                seat.closing_since = time.monotonic()
                worker.close()
            else:
                seat.records = []
                worker.run(name)

    def _start(self, seat: _Seat) -> Worker:
        seat.closing_since = None
        self.started += 1
        folder = self.folder / str(self.started)
        folder.mkdir()
        modules = sorted(self.modules.values())
        dataset = self.plan.dataset.absolute()
        return Worker(seat.slot, dataset, modules, self.plan.options, folder, self.limits)

    def _next(self, slot: Slot) -> str | None:
        """The next definition for a slot.

        The first definition of an op type may have a GPU's kernels compiled, which the others then
        find. While one worker does that, another does better with another op type.
        """
        cold = set()
        if slot.gpu is not None:
            running = [s.worker.definition for s in self.seats if s.worker is not None]
            cold = {self.plan.units[name] for name in running if name is not None} - self.warm
        for index, name in enumerate(self.queue):
            if self.plan.units[name] not in cold:
                return self.queue.pop(index)
        return self.queue.pop(0) if self.queue else None

    def _handle(self, seat: _Seat, worker: Worker, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "ready":
            self.worked = True
        elif kind == "begin":
            seat.failed_starts = 0
        elif kind == "error" and event["nodeid"] not in self.known_errors:
            self.known_errors.add(event["nodeid"])
            self.problems.append(
                FibcoreError(
                    "a test module cannot be collected",
                    where=event["nodeid"],
                    found=event["message"],
                    hint="fibcore add-reference-tests --force writes it anew",
                )
            )
        elif kind == "test":
            seat.records.append({**event["record"], "nodeid": event["nodeid"]})
        elif kind == "end":
            self._ended(seat, worker, event)

    def _ended(self, seat: _Seat, worker: Worker, event: Mapping[str, Any]) -> None:
        """Tell of a definition whose tests were all run."""
        name, end = event["definition"], worker.end() if event["fault"] else None
        self.warm.add(self.plan.units[name])
        evidence = worker.evidence(name)
        crash = problem = None
        if end is not None and not any(r["result"] == "failed" for r in seat.records):
            # The error came after the test that caused it.
            evidence, crash = None, f"the process that ran its tests {end.reason}"
            problem = _died(worker.test or name, end)
        self.finished(
            DefinitionRun(
                name=name,
                records=tuple(seat.records),
                evidence=evidence,
                crash=crash,
                problem=problem,
                worker=seat.slot.label,
                seconds=event["seconds"],
                memory_bytes=event["memory_bytes"],
                gpu_memory_bytes=event["gpu_memory_bytes"],
            )
        )

    def _gone(self, seat: _Seat, worker: Worker) -> None:
        """Decide what the end of a process means."""
        end, name = worker.end(), worker.definition
        if end is None or seat.closing_since is not None:
            return
        if name is not None:
            if end.kind == "died" and worker.ran:
                # What ran there before may be to blame: once more, in a process of its own.
                seat.retry = name
            elif self._wants_more_memory(end):
                self.heavy.append(name)
            else:
                self._fail(seat, name, worker, end)
        elif worker.collecting is not None:
            self._drop_module(worker.collecting, end)
        elif end.kind != "gpu":  # that followed upon a definition, which was told of
            self._failed_start(seat, end)

    def _wants_more_memory(self, end: End) -> bool:
        """Whether a definition may do with the whole machine what it could not do with a share."""
        if self.alone or len(self.seats) < 2:
            return False
        now, later = self.limits.memory_bytes, self.plan.alone.memory_bytes
        more = now is not None and (later is None or later > now)
        return (end.kind == "memory" and more) or (end.kind == "died" and "SIGKILL" in end.reason)

    def _fail(self, seat: _Seat, name: str, worker: Worker, end: End) -> None:
        test = worker.test or name
        self.finished(
            DefinitionRun(
                name=name,
                records=tuple(seat.records),
                crash=f"the process that ran {test} {end.reason}",
                problem=_died(test, end),
                worker=seat.slot.label,
            )
        )

    def _drop_module(self, nodeid: str, end: End) -> None:
        """Go on without a test module that ends the process that reads it."""
        op_types = [op for op, path in self.modules.items() if path == nodeid]
        for op_type in op_types:  # none where another worker met it before
            del self.modules[op_type]
            problem = FibcoreError(
                "a test module ends the process that reads it",
                where=nodeid,
                found=f"the process {end.reason}\n{end.said}",
                hint="fibcore add-reference-tests --force writes it anew",
            )
            self.problems.append(problem)
            for name in [n for n in self.queue if self.plan.units[n] == op_type]:
                self.queue.remove(name)
                crash = f"the process that read {nodeid} {end.reason}"
                self.finished(DefinitionRun(name=name, crash=crash))

    def _failed_start(self, seat: _Seat, end: End) -> None:
        error = FibcoreError(
            "pytest could not run the reference tests",
            where=str(self.plan.dataset / "tests" / "references"),
            found=f"the process {end.reason}\n{end.said}",
        )
        if not self.worked:
            raise error
        seat.failed_starts += 1
        if seat.given_up:
            self.problems.append(error)


def _died(test: str, end: End) -> FibcoreError:
    return FibcoreError(
        "the test process died" if end.kind != "timed out" else "the tests timed out",
        where=test,
        found=f"the process {end.reason}\n{end.said}".strip(),
        hint=_HINTS.get(end.kind, f"run it alone: pytest '{test}' -v"),
    )


_HINTS = {
    "timed out": "--timeout gives it more time",
    "memory": "--memory-limit gives it more; --jobs 1 leaves all of it to one definition",
}
