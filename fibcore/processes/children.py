"""A worker process as its parent sees it: started, fed with tasks, watched, ended.

The other side of the protocol is `child_side.py`, whose docstring describes the messages. Nothing
here waits, except for the end of a process that was killed: `Child.poll` takes in what there is
and enforces the limits, and whoever has children calls it again and again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from fibcore.processes.endings import Ending, How, died, over_memory, timed_out
from fibcore.processes.limits import Limits
from fibcore.processes.machine import resident_bytes

SCRIPT = Path(__file__).with_name("child_side.py")
START_S = 600.0
"""Seconds that a process gets until it is ready: for imports, and pytest collects all tests."""

CLOSE_S = 10.0
"""Seconds that a process gets to end by itself when there is nothing more to do."""

KILL_S = 30.0
"""Seconds to wait for a process that was killed; a driver may hold it."""

FIRST_LINES, LAST_LINES = 20, 10
LOG_BYTES = 1 << 16


@attrs.frozen
class Program:
    """What a child runs.

    Attributes:
        worker: The file whose `main(channel)` does the tasks.
        arguments: Its arguments.
        environment: Environment variables beside, or in place of, this process's own.
        without: Environment variables that it is not to have.
        cwd: Its working directory; None for this process's.
    """

    worker: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = attrs.field(factory=dict)
    without: tuple[str, ...] = ()
    cwd: Path | None = None


class Child:
    """One process that does one task after the other.

    Attributes:
        ready: Whether it is set up.
        busy: Whether it has a task.
        done: How many tasks it has done.
    """

    def __init__(self, program: Program, limits: Limits, folder: Path) -> None:
        """Start the process.

        Args:
            program: What it runs.
            limits: What it may use for each task.
            folder: An empty folder for its files, which stays while the process is there.
        """
        self.limits = limits
        self.ready = False
        self.busy = False
        self.done = 0
        self._log = folder / "output.log"
        events = folder / "events.jsonl"
        events.touch()
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, our own script)
                [sys.executable, str(SCRIPT), str(program.worker), *program.arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=program.cwd,
                env=_environment(program, events),
                start_new_session=True,  # what it starts ends with it, and Ctrl-C is not for it
            )
        self._events = events.open("r", encoding="utf-8")
        self._rest = ""
        self._since = time.monotonic()
        self._leaving = False
        self._ending: Ending | None = None

    def feed(self, task: Any) -> None:
        """Give it a task, which JSON can hold; `poll` tells of its `end`."""
        self.busy = True
        self._since = time.monotonic()
        self.send(task)

    def send(self, message: Any) -> None:
        """Send what is no task: nothing is expected to come of it."""
        assert self._process.stdin is not None
        with suppress(OSError):  # the process is gone, which `ended` says
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Say that there are no more tasks, upon which it ends by itself, or is ended."""
        self._leave()
        assert self._process.stdin is not None
        with suppress(OSError):  # likewise
            self._process.stdin.close()

    def poll(self) -> Iterator[Mapping[str, Any]]:
        """The events since the last call; a process over its limits is ended."""
        gone = self.ended()  # asked first: events may come until then
        self._rest += self._events.read()
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            event = json.loads(line)
            self._take(event)
            yield event
        if not gone:
            self._enforce_limits()

    def ended(self) -> bool:
        """Whether the process is gone; `poll` once more for what it said before."""
        return self._process.poll() is not None

    def ending(self) -> Ending | None:
        """How the process ended, or is about to end; None where that is as it should be."""
        if self._ending is not None:
            return self._ending
        code = self._process.poll()
        if code is None or (self._leaving and not self.busy):
            return None
        return died(code, self.output())

    def output(self) -> str:
        """The beginning and the end of what the process wrote since it got its task."""
        data = self._log.read_bytes()
        if len(data) > 2 * LOG_BYTES:
            data = data[:LOG_BYTES] + b"\n" + data[-LOG_BYTES:]
        lines = data.decode("utf-8", "replace").strip().splitlines()
        if len(lines) > FIRST_LINES + LAST_LINES:
            lines = [*lines[:FIRST_LINES], "...", *lines[-LAST_LINES:]]
        return "\n".join(lines)

    def stop(self) -> None:
        """Send the end to the process and what it started: its work is not wanted any more."""
        self._end(Ending(How.STOPPED, "was ended"))

    def kill(self) -> None:
        """End the process and what it started, at once, and let go of its files."""
        self.kill_group()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_S)
        with suppress(OSError):  # what was not sent cannot be
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._events.close()

    def kill_group(self) -> None:
        """Send the end to the process and what it started, without waiting for it."""
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "ready":
            self.ready = True
            self._since = time.monotonic()
        elif kind == "end":
            self.busy = False
            self.done += 1
        elif kind == "fault":
            self._ending = self._ending or Ending(How.FAULT, event["reason"], self.output())
            self._leave()

    def _leave(self) -> None:
        self._leaving = True
        self.ready = False  # what it got now would be blamed for its end
        self._since = time.monotonic()

    def _enforce_limits(self) -> None:
        passed = time.monotonic() - self._since
        limit, memory = self.limits.timeout_s, self.limits.memory_bytes
        if self._leaving:
            if passed > CLOSE_S:
                self.kill_group()
        elif not self.ready and passed > START_S:
            self._end(timed_out(START_S, self.output()))
        elif self.ready and self.busy and passed > limit:
            self._end(timed_out(limit, self.output()))
        elif memory is not None:
            used = resident_bytes(self._process.pid)
            if used is not None and used > memory:
                self._end(over_memory(used, memory, self.output()))

    def _end(self, ending: Ending) -> None:
        self._ending = self._ending or ending
        self.kill_group()


def _environment(program: Program, events: Path) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k not in program.without}
    environment |= {
        **program.environment,
        "FIBCORE_EVENTS": str(events.absolute()),
        "PYTHONUNBUFFERED": "1",  # what a process last wrote is to be in the log when it dies
    }
    if program.cwd is not None and environment.get("PYTHONPATH"):
        parts = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in parts)
    return environment
