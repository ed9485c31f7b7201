"""A lock between processes, as a file that is gone when nobody holds it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

if sys.platform != "win32":
    import fcntl

_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK})
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
_PAUSE_S = 0.05


class FileLock:
    """An exclusive lock on a path, for processes of this and of other machines that share it.

    The operating system frees it when its holder ends, however that happens. The file is removed
    by who holds the lock; whoever opened it before that locks a file without a name, sees so, and
    tries the one that has the name now. Where there is no `flock` (Windows), filelock's file stays.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._other: Any = None

    def acquire(self, timeout_s: float | None = None) -> bool:
        """Take the lock; False where another process holds it for longer than the timeout.

        Args:
            timeout_s: Seconds to wait; None waits without an end.

        Raises:
            OSError: the file cannot be made or locked.
        """
        if sys.platform == "win32":
            return self._acquire_other(timeout_s)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._fd = _try(self.path)
            if self._fd is not None:
                return True
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(_PAUSE_S)

    def release(self) -> None:
        """Remove the file and free the lock; nothing happens where it is not held."""
        if self._other is not None:
            self._other.release()
        if self._fd is not None:
            fd, self._fd = self._fd, None
            # In this order: once the lock is free the file of that name may be another's. A folder
            # that may not be written to any longer keeps the file, which is no harm.
            with contextlib.suppress(OSError):
                if _is_at(fd, self.path):
                    self.path.unlink()
            os.close(fd)

    def _acquire_other(self, timeout_s: float | None) -> bool:
        import filelock  # 50 ms

        self._other = filelock.FileLock(self.path)
        try:
            self._other.acquire(timeout=-1 if timeout_s is None else timeout_s)
        except filelock.Timeout:
            return False
        return True


def _try(path: Path) -> int | None:
    """A descriptor that holds the lock of the file of this name; None where another has it."""
    while True:
        fd = os.open(path, _FLAGS, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                return fd
        except OSError as error:
            os.close(fd)
            if error.errno in _HELD:
                return None
            raise
        os.close(fd)  # its holder removed it; the next one is looked for at once


def _is_at(fd: int, path: Path) -> bool:
    """Whether an open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False
