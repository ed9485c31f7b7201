"""Room for an interpreter that runs inside the interpreter."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator


class _Depth:
    """The recursion limit belongs to the process; the last elaboration that ends puts it back."""

    lock = threading.Lock()
    users = 0
    before = 0


_DEPTH = _Depth()


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """Raise the recursion limit while something is elaborated."""
    with _DEPTH.lock:
        if not _DEPTH.users:
            _DEPTH.before = sys.getrecursionlimit()
            sys.setrecursionlimit(max(_DEPTH.before, 12_000))
        _DEPTH.users += 1
    try:
        yield
    finally:
        with _DEPTH.lock:
            _DEPTH.users -= 1
            if not _DEPTH.users:
                sys.setrecursionlimit(_DEPTH.before)
