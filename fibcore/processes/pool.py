"""Tasks that have an answer each, done by one worker in turn or shared by several."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from fibcore.processes.children import Child, Program
from fibcore.processes.endings import Ending
from fibcore.processes.limits import Limits

FIRST_POLL_S, POLL_S = 0.001, 0.02
"""Seconds between two looks at processes: at first, and when nothing has come for a while."""

Answer = Mapping[str, Any]
"""What a worker sent with `end`."""

Key = TypeVar("Key")


class Worker:
    """A child for tasks, started when it is first needed and again where it ended.

    Use it with `with`, or call `close`.

    Args:
        program: What the child runs.
        limits: What each task may use; may be set anew between tasks.
        setup: What each child is sent before its first task; None for nothing.
    """

    def __init__(self, program: Program, limits: Limits, setup: Any = None) -> None:
        self.program = program
        self.limits = limits
        self.setup = setup
        self._child: Child | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, task: Any, stop: threading.Event | None = None) -> Answer | Ending:
        """Have a task done, and wait for it.

        Args:
            task: What JSON can hold.
            stop: Ends the process where it is set.

        Returns:
            The answer, or how the process ended instead.
        """
        self.begin(task)
        pause = _Pause()
        while (result := self.poll()) is None:
            if stop is not None and stop.is_set():
                assert self._child is not None
                self._child.stop()
            pause.wait()
        return result

    def begin(self, task: Any) -> None:
        """Give the child a task; it must have none."""
        if self._child is None:
            self._folder = tempfile.TemporaryDirectory(prefix="fibcore-worker-")
            self._child = Child(self.program, self.limits, Path(self._folder.name))
            if self.setup is not None:
                self._child.send(self.setup)
        self._child.limits = self.limits
        self._child.feed(task)

    def poll(self) -> Answer | Ending | None:
        """The answer to the present task, or how the process ended; None while it works."""
        child = self._child
        assert child is not None
        gone = child.ended()  # asked first, so that nothing it said is missed
        answer = next((dict(e) for e in list(child.poll()) if e["event"] == "end"), None)
        if answer is not None:
            del answer["event"]
            return answer
        if not gone:
            return None
        ending = child.ending()
        assert ending is not None  # it had a task
        self.close()
        return ending

    def close(self) -> None:
        """End the process, whatever it does; another task would start a new one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()


class Pool:
    """Workers that share tasks; use it with `with`.

    Args:
        make_worker: Makes one of them.
        size: How many.
    """

    def __init__(self, make_worker: Callable[[], Worker], size: int) -> None:
        self.workers = [make_worker() for _ in range(size)]

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            worker.close()

    def map(self, tasks: Mapping[Key, Any]) -> Iterator[tuple[Key, Answer | Ending]]:
        """Have tasks done.

        Args:
            tasks: Key to task, in the order in which they are to begin.

        Yields:
            Key and answer, or how the process ended instead, in the order in which they end.
        """
        waiting = iter(tasks.items())
        idle = list(reversed(self.workers))
        running: dict[Key, Worker] = {}
        pause = _Pause()
        left = len(tasks)
        while left:
            while idle and (item := next(waiting, None)) is not None:
                key, task = item
                running[key] = idle.pop()
                running[key].begin(task)
            for key, worker in list(running.items()):
                result = worker.poll()
                if result is not None:
                    idle.append(running.pop(key))
                    left -= 1
                    pause = _Pause()
                    yield key, result
            if left:
                pause.wait()


class _Pause:
    """Waits between two looks, a little longer each time."""

    def __init__(self) -> None:
        self.seconds = FIRST_POLL_S

    def wait(self) -> None:
        time.sleep(self.seconds)
        self.seconds = min(1.5 * self.seconds, POLL_S)
