"""Processes that look at models: as many as are wanted, each ended when a model takes too long.

They are plain child processes and not `multiprocessing`'s, so that a script without a main guard
can call `fibcore.survey`, and so can a Dask worker, whose daemonic process may have no others.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import IO

from fibcore.reports.survey.plan import Task
from fibcore.reports.survey.report import Reason, Row
from fibcore.reports.survey.worker import Setup

_CODE = (
    "import sys; sys.path[:] = sys.argv[1:]; from fibcore.reports.survey.worker import main; main()"
)


class Child:
    """A process for one task at a time, started when it is first needed and again where it died.

    Args:
        setup: What it is told first.
        timeout_s: Seconds of real time for each task.

    Attributes:
        ended: Whether it was ended for good.
    """

    def __init__(self, setup: Setup, timeout_s: float) -> None:
        self.setup = setup
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._lock = threading.Lock()
        self.ended = False

    def run(self, task: Task) -> Row:
        """The row of a task; a process that dies or takes too long is a failed row."""
        expired = threading.Event()
        process = self._started()
        if process is None:
            return _failed(task, "process", "it was ended")

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(self.timeout_s, expire)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            row: Row = pickle.load(process.stdout)  # noqa: S301 - from our own process
            return row
        except (EOFError, OSError, pickle.UnpicklingError):
            code = process.wait()
            said = self._said()
            self.reap()
            if expired.is_set():
                text = f"it took longer than {self.timeout_s:g} s and was ended"
                return _failed(task, "timeout", text, self.timeout_s)
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            hint = " (memory?)" if code == -9 else ""
            return _failed(task, "process", f"the process ended with {how}{hint}{said}")
        finally:
            timer.cancel()
            timer.join()
            if expired.is_set():  # at the last moment perhaps, with the answer there
                self.reap()

    def kill(self) -> None:
        """End the process for good; the `run` of another thread gives a failed row."""
        with self._lock:
            self.ended = True
            if self._process is not None:
                self._process.kill()

    def _started(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self.ended:
                return None
            if self._process is None:
                self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in reap
                self._process = subprocess.Popen(  # noqa: S603 - this Python and our own module
                    [sys.executable, "-c", _CODE, *sys.path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._log,
                    start_new_session=True,  # Ctrl-C is for the one who started it
                )
                assert self._process.stdin is not None
                with contextlib.suppress(OSError):  # it died; the task says so
                    pickle.dump(self.setup, self._process.stdin)
            return self._process

    def reap(self) -> None:
        """Reap the process and close what belongs to it."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        with contextlib.suppress(OSError):  # what it was not told is lost
                            stream.close()
            if self._log is not None:
                self._log.close()
                self._log = None

    def _said(self) -> str:
        """The last line that the process wrote to standard error."""
        if self._log is None:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last}" if last else ""


class Processes:
    """Several `Child`ren that share the tasks; use it with `with`.

    Args:
        setup: What each is told first.
        jobs: How many.
        timeout_s: Seconds of real time for each task.
    """

    def __init__(self, setup: Setup, jobs: int, timeout_s: float) -> None:
        self._children = [Child(setup, timeout_s) for _ in range(jobs)]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.reap()

    def map(self, tasks: Mapping[int, Task]) -> Iterator[tuple[int, Row]]:
        """Number and row of every task, as they come."""
        waiting: queue.SimpleQueue[tuple[int, Task]] = queue.SimpleQueue()
        for item in tasks.items():
            waiting.put(item)
        answers: queue.SimpleQueue[tuple[int, Row] | Exception] = queue.SimpleQueue()
        for child in self._children[: len(tasks)]:
            thread = threading.Thread(target=_work, args=(child, waiting, answers), daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in tasks:
            answer = answers.get()
            if isinstance(answer, Exception):
                raise answer
            yield answer


def _work(
    child: Child,
    waiting: queue.SimpleQueue[tuple[int, Task]],
    answers: queue.SimpleQueue[tuple[int, Row] | Exception],
) -> None:
    while not child.ended:
        try:
            number, task = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            answers.put((number, child.run(task)))
        except Exception as error:  # noqa: BLE001 - raised again by the one who waits for it
            answers.put(error)


def _failed(task: Task, kind: str, text: str, seconds: float = 0.0) -> Row:
    return task.row("failed", reasons=(Reason(kind, "", text),), seconds=seconds)
