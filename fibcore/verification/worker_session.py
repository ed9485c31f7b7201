"""The script of a worker process of `fibcore verify`: one pytest session, fed by its parent.

It imports nothing of fibcore. Its arguments are pytest's. Standard input brings the names of
definitions, one a line, when their tests are to be run; its end ends the session. What happens is
appended as JSON lines to the file that FIBCORE_EVENTS names, where the generated conftest.py
writes its own events, too:

    {"event": "collecting", "nodeid": MODULE}
    {"event": "ready"}
    {"event": "begin", "definition": NAME}
    {"event": "end", "definition": NAME, "seconds": …, "memory_bytes": …, "gpu_memory_bytes": …,
     "fault": why the process cannot go on, or null}
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

# A script's folder comes first; names of its modules must not hide those of others.
sys.path = [p for p in sys.path if p != str(Path(__file__).resolve().parent)]

import pytest  # noqa: E402

FAULT = 70
"""Exit status of a process whose GPU context is lost."""


class Feed:
    """The names that the parent sends.

    A parent that is gone while tests run will not come back for them: the process ends, with all
    that it started.
    """

    def __init__(self) -> None:
        # pytest and the tests get an empty standard input; children must not hold this one open.
        self._stream = os.fdopen(os.dup(0), encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._names: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.busy = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            self._names.put(line.strip())
        if self.busy:
            if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os._exit(FAULT)
        self._names.put(None)

    def next(self) -> str | None:
        """The next name, once it is there; None at the end."""
        self.busy = False
        name = self._names.get()
        self.busy = name is not None
        return name


class Session:
    """The pytest plugin that runs the definitions that it is told to."""

    def __init__(self, feed: Feed, events: Path) -> None:
        self.feed = feed
        self.events = events

    def event(self, event: str, **data: Any) -> None:
        """Append one line to the events."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **data}) + "\n")

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """Say which module is read, in case it takes the process with it."""
        if isinstance(collector, pytest.Module):
            self.event("collecting", nodeid=collector.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str]:
        """Print nothing for a test, so that the log has what the tests print."""
        return report.outcome, "", ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests of one definition after the other, as their names come."""
        items: dict[str, list[pytest.Item]] = {}
        for item in session.items:
            name = definition_of(item)
            if name is not None:
                items.setdefault(name, []).append(item)
        limit_gpu_memory()
        self.event("ready")
        while (name := self.feed.next()) is not None:
            self.run(session, name, items.get(name, []))
        return True

    def run(self, session: pytest.Session, name: str, items: list[pytest.Item]) -> None:
        """Run the tests of one definition; the process ends if it lost its GPU context by them."""
        start_log()
        self.event("begin", definition=name)
        reset_peaks()
        start = time.perf_counter()
        for item, following in zip(items, [*items[1:], None], strict=True):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        write_incomplete(session.config, name)
        gc.collect()
        fault = gpu_fault()
        self.event(
            "end",
            definition=name,
            seconds=round(time.perf_counter() - start, 3),
            memory_bytes=peak_bytes(),
            gpu_memory_bytes=None if fault else gpu_peak_bytes(),
            fault=fault,
        )
        if fault:
            os._exit(FAULT)  # whatever Python would do at exit may hang on a lost context


def definition_of(item: pytest.Item) -> str | None:
    """The definition that a generated test is about."""
    for value in getattr(getattr(item, "callspec", None), "params", {}).values():
        if isinstance(value, tuple) and value and hasattr(value[0], "entry"):
            return str(value[0].name)
    return None


def write_incomplete(config: pytest.Config, name: str) -> None:
    """Let the evidence of a definition be written though tests of it were left out."""
    plugin: Any
    for plugin_name, plugin in config.pluginmanager.list_name_plugin():
        if plugin_name.startswith("reference-test-evidence"):
            records = getattr(plugin, "records", {}).get(name, ())
            if records and plugin.written.get(name) != len(records):
                plugin.write(name)


def start_log() -> None:
    """Empty the log (standard output and error), so that it is about the next definition alone."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with contextlib.suppress(OSError):  # a terminal or a pipe
        os.ftruncate(1, 0)


def _torch_with_gpu() -> Any:
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None


def limit_gpu_memory() -> None:
    """Let torch refuse to take more of the GPU's memory than FIBCORE_GPU_MEMORY_BYTES."""
    torch, limit = sys.modules.get("torch"), os.environ.get("FIBCORE_GPU_MEMORY_BYTES")
    if torch is not None and limit and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, int(limit) / total), 0)


def reset_peaks() -> None:
    """Let peaks of memory be those of the next definition."""
    with contextlib.suppress(OSError):  # Linux alone has it
        Path("/proc/self/clear_refs").write_text("5")
    torch = _torch_with_gpu()
    if torch is not None:
        torch.cuda.empty_cache()  # others may share the GPU
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """The most main memory that this process occupied; None where that is not to be known."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
        return int(found[1]) * 1024 if found else None
    return None


def gpu_peak_bytes() -> int | None:
    """The most GPU memory that torch reserved; None without a GPU."""
    torch = _torch_with_gpu()
    return None if torch is None else int(torch.cuda.max_memory_reserved())


def gpu_fault() -> str | None:
    """What the GPU says if it can no longer be used by this process."""
    torch = _torch_with_gpu()
    if torch is None:
        return None
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error).strip().partition("\n")[0]
    return None


def main() -> int:
    """Run the session; pytest's exit status."""
    with contextlib.suppress(OSError):
        # If memory runs out, the system ends this process and not the one that watches it.
        Path("/proc/self/oom_score_adj").write_text("500")
    session = Session(Feed(), Path(os.environ["FIBCORE_EVENTS"]))
    return int(pytest.main(sys.argv[1:], plugins=[session]))


if __name__ == "__main__":
    sys.exit(main())
