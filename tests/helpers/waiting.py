"""Waiting for processes, and looking for those that should be gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def running(words: str) -> list[str]:
    """Command lines of processes that have these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        found += [line] if words in line else []
    return found


def wait_for(condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    """Wait until a condition holds; an error that says what was waited for if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.1)
