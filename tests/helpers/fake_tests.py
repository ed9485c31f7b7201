"""Reference tests that are only played, in real worker processes that need no torch.

They send what the real ones send, and do to themselves what a definition's name asks for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fibcore.errors import FibcoreError
from fibcore.processes.limits import Limits
from fibcore.verification.result import DefinitionResult
from fibcore.verification.scheduler import run_tests
from fibcore.verification.slots import LocalRun, Slot

# The process takes its orders from names: "hang_1" hangs, "once_abort" aborts unless it is alone.
SCRIPT = """
import os, signal, subprocess, sys, time
import json
from pathlib import Path

GPU = os.environ.get("CUDA_VISIBLE_DEVICES")
LOG = Path(os.environ["FAKE_LOG"])


def log(line):
    with LOG.open("a") as file:
        file.write(line + "\\n")


def main(channel):
    modules = [a for a in channel.arguments if Path(a).name.startswith("test_")]
    evidence = Path(channel.arguments[channel.arguments.index("--evidence") + 1])
    log(f"start {GPU} {os.environ.get('FIBCORE_GPU_MEMORY_BYTES')}")
    if "test_unstartable" in str(modules) or (LOG.parent / "no more").exists():
        sys.exit("nothing works")
    for module in modules:
        nodeid = "tests/references/" + Path(module).name
        channel.send("collecting", nodeid=nodeid)
        if "test_lethal" in module:
            os.abort()
        if "test_unreadable" in module:
            channel.send("error", nodeid=nodeid, message="SyntaxError")
    channel.send("ready")
    for ran, name in enumerate(channel):
        channel.send("begin", definition=name)
        log(f"{GPU} {name}")
        kind = name.split("_")[0]
        nodeid = f"tests/references/test_x.py::test[{name}]"
        channel.send("start", nodeid=nodeid)
        play(kind, ran)
        result = "failed" if kind in ("fails", "gpufails") else "passed"
        record = {"definition": name, "result": result, "expected_tests": 1}
        if kind == "gpubig" and "FIBCORE_GPU_MEMORY_BYTES" in os.environ:
            reason = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."
            record.update(result="failed", reason=reason)
        channel.send("test", nodeid=nodeid, record=record)
        evidence.mkdir(exist_ok=True)
        run = {"result": "passed", "gpu": GPU, "reference_sha256": "of another"}
        (evidence / f"{name}.json").write_text(json.dumps({"runs": [run]}))
        fault = kind in ("gpufault", "gpufails")
        if fault:
            reason = "lost the GPU: CUDA error: an illegal memory access was encountered"
            channel.send("fault", reason=reason)
        measured = {"seconds": 0.5, "memory_bytes": 1, "gpu_memory_bytes": None}
        channel.send("end", definition=name, **measured)
        if fault:
            time.sleep(0.3)  # as the end of a lost context takes
            os._exit(70)
        if kind == "dies-after":
            sys.exit(9)


def play(kind, ran):
    if kind == "abort" or (kind == "once" and ran):
        print("about to abort", flush=True)
        os.abort()
    if kind == "exit":
        os._exit(5)
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        subprocess.run(["sleep", os.environ["FAKE_SLEEP"]])
    if kind == "slow":
        time.sleep(0.5)
    if kind == "big":
        hoard = bytearray(400 << 20)
        hoard[:: 4096] = b"x" * len(hoard[:: 4096])
        time.sleep(1)
"""


class Fake:
    """Runs definitions in processes that only play the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.sleep = f"600.{os.getpid()}{time.monotonic_ns() % 10**6}"
        self.problems: list[FibcoreError] = []

    def run(
        self,
        names: Sequence[str],
        slots: Sequence[Slot] = (Slot("CPU"),),
        *,
        modules: Sequence[str] = ("x",),
        op_types: Mapping[str, str] | None = None,
        finished: Callable[[DefinitionResult], None] | None = None,
        stop: threading.Event | None = None,
        alone: Limits | None = None,
        alone_gpu: int | None = None,
        **limits: Any,
    ) -> dict[str, DefinitionResult]:
        """Run definitions; their results, by name."""
        runs: dict[str, DefinitionResult] = {}

        def take(run: DefinitionResult) -> None:
            assert run.name not in runs  # each has one result
            runs[run.name] = run
            if finished is not None:
                finished(run)

        own = Limits(**{"timeout_s": 60.0, **limits})
        work = LocalRun(
            dataset=self.folder,
            modules={m: f"tests/references/test_{m}.py" for m in modules},
            definitions={name: (op_types or {}).get(name, modules[0]) for name in names},
            options=(),
            slots=slots,
            limits=own,
            alone=alone or own,
            alone_gpu_memory_bytes=alone_gpu,
        )
        self.problems = run_tests(work, take, stop)
        assert set(runs) == set(names)
        return runs

    @property
    def lines(self) -> list[str]:
        """What the processes logged: their starts, and each definition with its GPU."""
        return self.log.read_text().splitlines()

    def starts(self) -> int:
        """Processes that were started."""
        return sum(line.startswith("start") for line in self.lines)
