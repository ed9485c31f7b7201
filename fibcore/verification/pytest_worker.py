"""A worker process of `fibcore verify`, which is one pytest session.

`processes/child_side.py` runs this file, which imports nothing of fibcore. Its arguments are
pytest's, and a task is the name of a definition, whose tests are to be run. Besides the events of
the protocol it sends its own, and so does the generated conftest.py, which finds the file of events
by FIBCORE_EVENTS, too:

    {"event": "collecting", "nodeid": MODULE}
    {"event": "begin", "definition": NAME}
    {"event": "end", "definition": NAME, "seconds": …, "memory_bytes": …, "gpu_memory_bytes": …}
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FAULT = 70
"""Exit status of a process whose GPU context is lost."""


class DefinitionRunner:
    """The pytest plugin that runs the tests of the definitions whose names come."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """Say which module is read, in case it takes the process with it."""
        if isinstance(collector, pytest.Module):
            self.channel.send("collecting", nodeid=collector.nodeid)

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
        self.channel.send("ready")
        for name in self.channel:
            self.run(session, name, items.get(name, []))
        return True

    def run(self, session: pytest.Session, name: str, items: list[pytest.Item]) -> None:
        """Run the tests of one definition; the process ends if it lost its GPU context by them."""
        self.channel.send("begin", definition=name)
        reset_peaks()
        start = time.perf_counter()
        for item, following in zip(items, [*items[1:], None], strict=True):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        write_incomplete(session.config, name)
        gc.collect()
        fault = gpu_fault()
        if fault:
            self.channel.send("fault", reason=f"lost the GPU: {fault}")
        self.channel.send(
            "end",
            definition=name,
            seconds=round(time.perf_counter() - start, 3),
            memory_bytes=peak_bytes(),
            gpu_memory_bytes=None if fault else gpu_peak_bytes(),
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


def main(channel: Any) -> int:
    """Run the session; pytest's exit status."""
    return int(pytest.main(channel.arguments, plugins=[DefinitionRunner(channel)]))
