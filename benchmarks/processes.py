"""What a whole process costs: processor time and memory, with fibcore as it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


def as_installed(bytecode: Path) -> dict[str, str]:
    """An environment in which Python keeps what it compiles in a folder, as pip does.

    Without it a checkout is compiled anew by each process, and the packages that it is compared
    with, which pip has compiled, are not.

    Args:
        bytecode: The folder.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(bytecode)}


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of processor time and peak resident memory in MB of one process.

    Other work on the machine changes the time of the processor least.

    Raises:
        SystemExit: the command failed; its output is shown.
    """
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(  # noqa: S603 - our own command lines
            command, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{log.read().decode(errors='replace')}")
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6
