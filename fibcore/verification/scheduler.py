"""Runs a dataset's reference tests in worker processes, definition by definition.

Each process imports torch and collects the tests once, and then runs the tests of one definition
after the other. One that dies, hangs or takes too much memory costs the definition that it was at;
a new process takes its place.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.processes.endings import Ending, How
from fibcore.verification.pytest_process import PytestProcess
from fibcore.verification.result import DefinitionResult
from fibcore.verification.slots import LocalRun, Slot

POLL_S = 0.02
STARTS = 3
"""Times that a process is started without getting anywhere before its slot is given up."""
OUT_OF_MEMORY = "CUDA out of memory"
"""How torch's error begins where a GPU, or a process's share of one, has no more memory."""


def run_tests(
    work: LocalRun,
    finished: Callable[[DefinitionResult], None],
    stop: threading.Event | None = None,
    tick: Callable[[], None] | None = None,
    begun: Callable[[tuple[str, ...]], None] | None = None,
) -> list[FibcoreError]:
    """Run the tests of definitions; every definition has one result.

    Args:
        work: What is to be run.
        finished: Called with the result of every definition as its tests end, in this thread.
        stop: Ends the work early where it is set.
        tick: Called over and over meanwhile, in this thread.
        begun: Called with the definitions in work whenever another one begins, in this thread.

    Returns:
        What kept tests from running that is no definition's fault.

    Raises:
        FibcoreError: pytest could not begin, or `stop` was set.
    """
    with tempfile.TemporaryDirectory(prefix="fibcore-verify-") as folder:
        scheduler = _Scheduler(work, Path(folder), finished, stop, tick, begun)
        try:
            scheduler.run()
        finally:
            scheduler.kill()  # however this ends, no process stays behind
    return scheduler.problems


@attrs.define
class _Seat:
    """A slot and the process that is there now.

    Attributes:
        slot: The place.
        process: The process; None where none runs.
        records: Of the definition that its tests are at.
        retry: The definition that the next process is to begin with.
        failed_starts: Processes in a row that did not get as far as a definition.
    """

    slot: Slot
    process: PytestProcess | None = None
    records: list[Mapping[str, Any]] = attrs.field(factory=list)
    retry: str | None = None
    failed_starts: int = 0

    @property
    def given_up(self) -> bool:
        return self.failed_starts >= STARTS


class _Scheduler:
    """Keeps the seats occupied until every definition has its result."""

    def __init__(
        self,
        work: LocalRun,
        folder: Path,
        finished: Callable[[DefinitionResult], None],
        stop: threading.Event | None,
        tick: Callable[[], None] | None,
        begun: Callable[[tuple[str, ...]], None] | None,
    ) -> None:
        self.work = work
        self.folder = folder
        self.finished = finished
        self.stop = stop
        self.tick = tick
        self.begun = begun
        self.problems: list[FibcoreError] = []
        self.queue = list(work.definitions)
        self.heavy: list[str] = []
        self.modules = dict(work.modules)
        self.limits = work.limits
        self.alone = False
        self.seats = [_Seat(slot) for slot in work.slots]
        self.warm: set[str] = set()
        self.known_errors: set[str] = set()
        self.started = 0
        self.worked = False

    def run(self) -> None:
        """Run all definitions, and those that need the machine for themselves at the end."""
        self._loop()
        if self.heavy:
            self.queue, self.heavy, self.alone = self.heavy, [], True
            self.limits = self.work.alone
            whole = attrs.evolve(
                self.seats[0].slot, gpu_memory_bytes=self.work.alone_gpu_memory_bytes
            )
            self.seats = [_Seat(whole)]
            self._loop()

    def kill(self) -> None:
        """End all processes."""
        for seat in self.seats:
            if seat.process is not None:
                seat.process.child.kill_group()  # all at once, then wait for each
        for seat in self.seats:
            if seat.process is not None:
                seat.process.child.kill()
                seat.process = None

    def _loop(self) -> None:
        while True:
            if self.stop is not None and self.stop.is_set():
                raise FibcoreError("the run was cancelled")
            for seat in self.seats:
                self._tend(seat)
            if all(seat.process is None for seat in self.seats):
                if not self.queue and not any(seat.retry for seat in self.seats):
                    return
                if all(seat.given_up for seat in self.seats):
                    raise FibcoreError(
                        "no worker process can be started any more",
                        where=str(self.work.dataset),
                        found=str(self.problems[-1]) if self.problems else None,
                    )
            if self.tick is not None:
                self.tick()
            time.sleep(POLL_S)

    def _tend(self, seat: _Seat) -> None:
        """Take in what a seat's process said, and give it the next thing to do."""
        process = seat.process
        if process is None:
            if (self.queue or seat.retry) and not seat.given_up:
                seat.process = self._start(seat)
            return
        gone = process.child.ended()  # asked first, so that nothing it said is missed
        for event in process.poll():
            self._handle(seat, process, event)
        if gone:
            seat.process = None
            process.child.kill()  # what it started may still be there
            self._gone(seat, process)
        elif process.idle:
            name, seat.retry = seat.retry or self._next(seat.slot), None
            if name is None:
                process.child.close()
            else:
                seat.records = []
                process.run(name)
                if self.begun is not None:
                    self.begun(self._in_work())

    def _in_work(self) -> tuple[str, ...]:
        processes = [seat.process for seat in self.seats if seat.process is not None]
        return tuple(p.definition for p in processes if p.definition is not None)

    def _start(self, seat: _Seat) -> PytestProcess:
        self.started += 1
        folder = self.folder / str(self.started)
        folder.mkdir()
        modules = sorted(self.modules.values())
        dataset = self.work.dataset.absolute()
        return PytestProcess(seat.slot, dataset, modules, self.work.options, folder, self.limits)

    def _next(self, slot: Slot) -> str | None:
        """The next definition for a slot.

        The first definition of an op type may have a GPU's kernels compiled, which the others then
        find. While one worker does that, another does better with another op type.
        """
        cold = set()
        if slot.gpu is not None:
            cold = {self.work.definitions[name] for name in self._in_work()} - self.warm
        for index, name in enumerate(self.queue):
            if self.work.definitions[name] not in cold:
                return self.queue.pop(index)
        return self.queue.pop(0) if self.queue else None

    def _handle(self, seat: _Seat, process: PytestProcess, event: Mapping[str, Any]) -> None:
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
            self._ended(seat, process, event)

    def _ended(self, seat: _Seat, process: PytestProcess, event: Mapping[str, Any]) -> None:
        """Give the result of a definition whose tests were all run."""
        name, ending = event["definition"], process.child.ending()
        self.warm.add(self.work.definitions[name])
        if self._wants_more_of_the_gpu(seat):
            self.heavy.append(name)
            return
        evidence = process.evidence(name)
        crash = problem = None
        failed = any(record["result"] == "failed" for record in seat.records)
        if ending is not None and ending.how is How.FAULT and not failed:
            # The error came after the test that caused it.
            evidence, crash = None, f"the process that ran its tests {ending.reason}"
            problem = _died(process.test or name, ending)
        self.finished(
            DefinitionResult(
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

    def _gone(self, seat: _Seat, process: PytestProcess) -> None:
        """Decide what the end of a process means."""
        ending, name = process.child.ending(), process.definition
        if ending is None:
            return
        if name is not None:
            if ending.how is How.DIED and process.child.done:
                # What ran there before may be to blame: once more, in a process of its own.
                seat.retry = name
            elif self._wants_more_memory(ending):
                self.heavy.append(name)
            else:
                self._fail(seat, name, process, ending)
        elif process.collecting is not None:
            self._drop_module(process.collecting, ending)
        elif ending.how is not How.FAULT:  # that followed upon a definition, which has its result
            self._failed_start(seat, ending)

    def _wants_more_memory(self, ending: Ending) -> bool:
        """Whether a definition may do with the whole machine what it could not do with a share."""
        if self.alone or len(self.seats) < 2:
            return False
        now, later = self.limits.memory_bytes, self.work.alone.memory_bytes
        more = now is not None and (later is None or later > now)
        return (ending.how is How.MEMORY and more) or ending.killed_from_outside

    def _wants_more_of_the_gpu(self, seat: _Seat) -> bool:
        """Whether tests failed for memory that the GPU has, and this slot's share of it has not."""
        share, later = seat.slot.gpu_memory_bytes, self.work.alone_gpu_memory_bytes
        if self.alone or share is None or (later is not None and later <= share):
            return False
        failed = (record for record in seat.records if record["result"] == "failed")
        return any(OUT_OF_MEMORY in str(record.get("reason", "")) for record in failed)

    def _fail(self, seat: _Seat, name: str, process: PytestProcess, ending: Ending) -> None:
        test = process.test or name
        self.finished(
            DefinitionResult(
                name=name,
                records=tuple(seat.records),
                crash=f"the process that ran {test} {ending.reason}",
                problem=_died(test, ending),
                worker=seat.slot.label,
            )
        )

    def _drop_module(self, nodeid: str, ending: Ending) -> None:
        """Go on without a test module that ends the process that reads it."""
        keys = [key for key, path in self.modules.items() if path == nodeid]
        for key in keys:  # none where another process met it before
            del self.modules[key]
            problem = FibcoreError(
                "a test module ends the process that reads it",
                where=nodeid,
                found=f"the process {ending.reason}\n{ending.output}",
                hint="fibcore add-reference-tests --force writes it anew",
            )
            self.problems.append(problem)
            for name in [n for n in self.queue if key in (n, self.work.definitions[n])]:
                self.queue.remove(name)
                crash = f"the process that read {nodeid} {ending.reason}"
                self.finished(DefinitionResult(name=name, crash=crash))

    def _failed_start(self, seat: _Seat, ending: Ending) -> None:
        error = FibcoreError(
            "pytest could not run the reference tests",
            where=str(self.work.dataset / "tests" / "references"),
            found=f"the process {ending.reason}\n{ending.output}",
        )
        if not self.worked:
            raise error
        seat.failed_starts += 1
        if seat.given_up:
            self.problems.append(error)


def _died(test: str, ending: Ending) -> FibcoreError:
    return FibcoreError(
        "the test process died" if ending.how is not How.TIMEOUT else "the tests timed out",
        where=test,
        found=f"the process {ending.reason}\n{ending.output}".strip(),
        hint=_HINTS.get(ending.how, f"run it alone: pytest '{test}' -v"),
    )


_HINTS = {
    How.TIMEOUT: "--timeout gives it more time",
    How.MEMORY: "--memory-limit gives it more; --jobs 1 leaves all of it to one definition",
}
