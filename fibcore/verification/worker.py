"""A worker process as its parent sees it: started, fed with definitions, watched, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from fibcore.verification.machine import GIB, Slot, resident_bytes

SCRIPT = Path(__file__).with_name("worker_session.py")
FIRST_LINES, LAST_LINES = 20, 10
LOG_BYTES = 1 << 16
START_S = 600.0
"""Seconds that a process gets to import torch and collect the tests."""

KILL_S = 30.0
"""Seconds to wait for a process that was killed."""


@attrs.frozen
class Limits:
    """What a definition may use.

    Attributes:
        timeout_s: Seconds of real time.
        memory_bytes: Main memory that the worker may occupy; None for no limit.
    """

    timeout_s: float
    memory_bytes: int | None = None


@attrs.frozen
class End:
    """How a worker's process ended before it was told to.

    Attributes:
        kind: "died", "timed out", "memory" (it was ended for using too much) or "gpu" (it lost
            its GPU context and ended by itself).
        reason: What happened, as a sentence's end: "ended with signal 11 (SIGSEGV)".
        said: What it last wrote.
    """

    kind: str
    reason: str
    said: str


class Worker:
    """One process that runs tests of one definition after the other.

    Attributes:
        slot: Where it runs.
        ready: Whether it has collected the tests.
        definition: The definition whose tests run; None while it waits.
        collecting: The test module that was read last, until it is ready.
        test: The test that runs, or ran last.
        ran: Definitions whose tests this process ran before.
        finished: Whether pytest's session came to its end.
    """

    def __init__(
        self,
        slot: Slot,
        dataset: Path,
        modules: Sequence[str],
        options: Sequence[str],
        folder: Path,
        limits: Limits,
    ) -> None:
        """Start the process.

        Args:
            slot: Where it is to run.
            dataset: The dataset's folder.
            modules: Paths of the test modules, relative to the dataset.
            options: Options of the generated conftest.py.
            folder: An empty folder for its files.
            limits: What each definition may use.
        """
        self.slot = slot
        self.limits = limits
        self.ready = False
        self.finished = False
        self.definition: str | None = None
        self.collecting: str | None = None
        self.test: str | None = None
        self.ran = 0
        self._evidence = folder / "evidence"
        self._log = folder / "pytest.log"
        events, ini = folder / "events.jsonl", folder / "pytest.ini"
        events.touch()
        # What encloses the dataset's folder has its own ideas of pytest's configuration.
        ini.write_text("[pytest]\n", encoding="utf-8")
        command = [
            *(sys.executable, str(SCRIPT), "-q", "--tb=short", "--capture=no"),
            *("-p", "no:cacheprovider", "-c", str(ini), "--rootdir", str(dataset)),
            *("--import-mode=importlib", "--continue-on-collection-errors"),
            *("--evidence", str(self._evidence), *options),
            *(str(dataset / module) for module in modules),
        ]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  (this interpreter, our own script)
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_environment(slot, events),
                start_new_session=True,  # so that what it starts ends with it
            )
        self._events = events.open("r", encoding="utf-8")
        self._rest = ""
        self._since = time.monotonic()
        self._stopped: End | None = None
        self._closed = False

    def run(self, definition: str) -> None:
        """Have the tests of a definition run."""
        self.definition, self.test = definition, None
        self._since = time.monotonic()
        self._send(definition + "\n")

    def close(self) -> None:
        """Have the session end, for there is nothing more to run."""
        self._closed = True
        self._since = time.monotonic()
        self._send(None)

    def poll(self) -> Iterator[Mapping[str, Any]]:
        """The events since the last call; a process over its limits is ended."""
        ended = self._process.poll() is not None
        self._rest += self._events.read()
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            event = json.loads(line)
            self._take(event)
            yield event
        if not ended:
            self._check_limits()

    def ended(self) -> bool:
        """Whether the process is gone; `poll` once more for what it said before."""
        return self._process.poll() is not None

    def end(self) -> End | None:
        """How the process ended; None where it ended as it was told to."""
        code = self._process.returncode
        if self._stopped is not None:
            return self._stopped
        if self.finished and self._closed and self.definition is None and code in (0, 1, 2, 5):
            return None
        return End("died", f"ended with {_how(code)}", self.said())

    def evidence(self, definition: str) -> Mapping[str, Any] | None:
        """The evidence that the tests of a definition wrote; None where they wrote none."""
        path = self._evidence / f"{definition}.json"
        try:
            run: Mapping[str, Any] = json.loads(path.read_text("utf-8"))["runs"][0]
        except FileNotFoundError:
            return None
        path.unlink()
        return run

    def said(self) -> str:
        """The beginning and the end of what the process wrote since its last definition."""
        data = self._log.read_bytes()
        if len(data) > 2 * LOG_BYTES:
            data = data[:LOG_BYTES] + b"\n" + data[-LOG_BYTES:]
        lines = data.decode("utf-8", "replace").strip().splitlines()
        if len(lines) > FIRST_LINES + LAST_LINES:
            lines = [*lines[:FIRST_LINES], "...", *lines[-LAST_LINES:]]
        return "\n".join(lines)

    def kill(self) -> None:
        """End the process and what it started, at once, and let go of its files."""
        self.kill_group()
        with suppress(subprocess.TimeoutExpired):  # a driver may hold a process for long
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

    def _send(self, text: str | None) -> None:
        """Write to the process, or close its input; one that is gone is seen by `ended`."""
        assert self._process.stdin is not None
        with suppress(OSError):
            if text is None:
                self._process.stdin.close()
            else:
                self._process.stdin.write(text.encode())
                self._process.stdin.flush()

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "collecting":
            self.collecting = event["nodeid"]
        elif kind == "ready":
            self.ready, self.collecting = True, None
        elif kind == "start":
            self.test = event["nodeid"]
        elif kind == "end":
            self.definition = None
            self.ran += 1
            if event["fault"]:
                self.ready = False  # it is about to end; what it got now would be blamed for that
                said = self.said()
                self._stopped = End("gpu", f"lost the GPU: {event['fault']}", said)
        elif kind == "finished":
            self.finished = True

    def _check_limits(self) -> None:
        waiting = self.ready and self.definition is None and not self._closed
        limit = self.limits.memory_bytes
        timeout_s = self.limits.timeout_s if self.ready else START_S
        if not waiting and time.monotonic() - self._since > timeout_s:
            self._stop("timed out", f"timed out after {timeout_s:g} s")
        elif limit is not None:
            used = resident_bytes(self._process.pid)
            if used is not None and used > limit:
                self._stop(
                    "memory",
                    f"used {used / GIB:.1f} GiB of memory, over the limit of {limit / GIB:.1f} GiB",
                )

    def _stop(self, kind: str, reason: str) -> None:
        if self._stopped is None:
            self._stopped = End(kind, reason, self.said())
            self.kill_group()


def _environment(slot: Slot, events: Path) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"}
    environment |= {
        **slot.environment,
        "FIBCORE_EVENTS": str(events),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",  # what a process last wrote is to be in the log when it dies
    }
    if slot.gpu_memory_bytes is not None:
        environment["FIBCORE_GPU_MEMORY_BYTES"] = str(slot.gpu_memory_bytes)
    if environment.get("PYTHONPATH"):  # the process runs in another folder
        parts = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in parts)
    return environment


def _how(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit status {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        memory = ", as when memory runs out" if name == "SIGKILL" else ""
        return f"signal {-code} ({name}{memory})"
    return f"signal {-code}"
