"""Run a command that is long and says little; say what is done meanwhile, and what came of it.

    python tools/at_work.py TEXT COMMAND [ARGUMENT...]

On a terminal one line moves with the time and the command's last line; elsewhere a line is written
every 4 seconds. What the command says is kept from view and shown where it fails. It needs
nothing but Python, for it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import TextIO

EVERY_S = 4.0
_INSTALLED = re.compile(r"^Successfully installed (.+)$", re.MULTILINE)
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|[\x00-\x1f\x7f]")


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit status."""
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    text, *command = arguments
    out = sys.stderr
    moves = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    begun = time.monotonic()
    if not moves:
        print(text, file=out, flush=True)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        with subprocess.Popen(  # noqa: S603 - the Makefile's
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as child:
            assert child.stdout is not None
            reader = _Reader(child.stdout, log)
            reader.start()
            while reader.is_alive():
                reader.join(0.2 if moves else EVERY_S)
                if reader.is_alive():
                    _show(text, time.monotonic() - begun, reader.last, out, moves=moves)
            reader.join()
        log.seek(0)
        said = log.read()
    if moves:
        print("\r\x1b[2K", end="", file=out)
    result = _result(child.returncode, said)
    print(f"{time.monotonic() - begun:6.1f} s  {text}: {result}", file=out, flush=True)
    if child.returncode:
        print(said, end="", file=out, flush=True)
    return child.returncode


class _Reader(threading.Thread):
    """Writes down what the command says, and keeps its last line at hand."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        super().__init__(daemon=True)
        self.stream, self.log, self.last = stream, log, ""

    def run(self) -> None:
        for line in self.stream:
            self.log.write(line)
            self.last = _CONTROLS.sub("", line).strip() or self.last


def _show(text: str, passed: float, last: str, out: TextIO, *, moves: bool) -> None:
    line = f"{passed:6.0f} s  {text}" + (f": {last}" if last else "")
    if moves:
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[2K{line[:width]}", end="", file=out, flush=True)
    else:
        print(line, file=out, flush=True)


def _result(status: int, said: str) -> str:
    if status:
        return f"failed (exit status {status})"
    installed = [package for line in _INSTALLED.findall(said) for package in line.split()]
    return f"{len(installed)} packages installed" if installed else "done"


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
