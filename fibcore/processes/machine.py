"""What this machine has for work in processes: cores, memory, GPUs."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import attrs

from fibcore.errors import FibcoreError

PROBE_S = 120.0
"""Seconds that torch gets to name the GPUs."""

_PROBE = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
about = [torch.cuda.get_device_properties(i) for i in range(count)]
print(json.dumps([[a.name, a.total_memory, [a.major, a.minor]] for a in about]))
"""


@attrs.frozen
class Gpu:
    """A GPU that torch can use.

    Attributes:
        id: What CUDA_VISIBLE_DEVICES calls it: an index or a UUID.
        name: What it is.
        memory_bytes: Its memory.
        capability: Its CUDA compute capability.
    """

    id: str
    name: str
    memory_bytes: int
    capability: tuple[int, int] = (0, 0)


def find_gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch finds, in a process of its own; CUDA_VISIBLE_DEVICES is respected.

    Raises:
        FibcoreError: torch cannot be imported, or does not answer.
    """
    if _torch_is_for_cpus():
        return ()
    try:
        process = subprocess.run(  # noqa: S603  (this interpreter, our own text)
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FibcoreError(
            "torch does not say which GPUs there are",
            found=f"no answer within {PROBE_S:g} s",
            hint="see whether nvidia-smi answers; --device cpu goes without GPUs",
        ) from None
    if process.returncode != 0:
        raise FibcoreError(
            "torch cannot say which GPUs there are",
            where=sys.executable,
            found="\n".join(process.stderr.strip().splitlines()[-5:]),
        )
    about = json.loads(process.stdout.strip().splitlines()[-1])
    ids = visible_ids(os.environ.get("CUDA_VISIBLE_DEVICES"), len(about))
    found = zip(ids, about, strict=True)
    return tuple(
        Gpu(i, name, memory, (major, minor)) for i, (name, memory, (major, minor)) in found
    )


def visible_ids(variable: str | None, count: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls the first `count` GPUs, given its present value."""
    if variable is None or not variable.strip():
        return [str(i) for i in range(count)]
    return [part.strip() for part in variable.split(",")][:count]


def _torch_is_for_cpus() -> bool:
    """Whether the installed torch was built without CUDA and ROCm; it is not imported."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    with suppress(OSError, UnicodeDecodeError):
        text = Path(found.origin).with_name("version.py").read_text("utf-8")
        built = re.findall(r"^(?:cuda|hip)\b[^=\n]*=\s*(\S+)", text, re.MULTILINE)
        return bool(built) and all(value == "None" for value in built)
    return False


def cores() -> int:
    """Cores that this process may use, by its affinity and its control group's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            return max(1, min(count or 1, math.ceil(int(quota) / int(period))))
    return count or 1


def free_memory_bytes() -> int | None:
    """Main memory that is free for use, by the system and the control group; None if not known."""
    free: int | None = None
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
        free = int(found[1]) * 1024 if found else None
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        stat = (group / "memory.stat").read_text()
        cached = re.search(r"^inactive_file (\d+)", stat, re.M)
        used = int((group / "memory.current").read_text()) - (int(cached[1]) if cached else 0)
        free = min(limit - used, free) if free is not None else limit - used
    return free


def resident_bytes(pid: int) -> int | None:
    """Main memory that a process occupies; None where that is not to be known."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None
