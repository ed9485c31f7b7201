"""A worker that does to itself what its task says, see `child_side.py`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any


def main(channel: Any) -> int:
    """Answer tasks; the exit status is the number in the arguments."""
    if "unready" in channel.arguments:
        time.sleep(600)
    if "late" in channel.arguments:
        time.sleep(0.6)
    if "broken" in channel.arguments:
        raise RuntimeError("broken from the start")
    channel.send("ready")
    for done, task in enumerate(channel):
        name, *rest = task if isinstance(task, list) else [task]
        answer = None
        if name == "setup":
            continue
        print("doing", name)  # noqa: T201
        if name == "hang":
            subprocess.run(["sleep", *rest])  # noqa: S603, S607
        elif name == "exit":
            os._exit(*rest)
        elif name == "signal":
            os.kill(os.getpid(), *rest)
        elif name == "crash":
            ctypes.string_at(0)
        elif name == "hoard":
            hoard = bytearray(rest[0])
            hoard[::4096] = b"x" * len(hoard[::4096])
            time.sleep(60)
        elif name == "fault":
            channel.send("fault", reason="lost its way")
            sys.exit(3)
        elif name == "read":
            answer = sys.stdin.read()
        elif name == "pid":
            answer = os.getpid()
        elif name == "modules":
            answer = sorted(m for m in sys.modules if m.startswith("fibcore"))
        elif name == "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif name == "sleep":
            time.sleep(*rest)
        elif name == "write":
            print(*rest)  # noqa: T201
        channel.send("end", answer=answer, done=done)
    return 0
