"""One writer at a time: the lock of a dataset folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fibcore.dataset.files import os_error, remove, write_text
from fibcore.errors import DatasetError
from fibcore.model.json import decode
from fibcore.processes.locks import FileLock
from fibcore.regular_files import read_bytes

LOCK_NAME = ".fibcore.lock"
HOLDER_NAME = ".fibcore.lock.holder"
_HOLDER_BYTES = 64 << 10


@contextmanager
def locked(
    root: Path, timeout_s: float, notify: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock of the dataset at `root`, whose folder is made where it is missing.

    The operating system frees the lock when its holder ends, however that happens. Its file is
    there only as long as it is held.

    Args:
        root: The dataset folder.
        timeout_s: Seconds to wait for another holder.
        notify: Called with a message when it has to wait; by default a log line.

    Raises:
        DatasetError: another process still holds it after `timeout_s`, or the folder cannot be
            written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error(error, root, "make the dataset folder") from error
    lock = FileLock(root / LOCK_NAME)
    try:
        held = _acquire(lock, root, timeout_s, notify or _warn)
    except OSError as error:
        raise os_error(error, root / LOCK_NAME, "lock the dataset") from error
    if not held:
        raise DatasetError(
            f"another run has held the dataset's lock for over {timeout_s:g} s",
            where=str(root / LOCK_NAME),
            found=holder(root),
            hint="wait for that run or end it, then try again",
        )
    try:
        # Only for the message that another run prints while it waits.
        with suppress(DatasetError):
            write_text(root, root / HOLDER_NAME, _this_process(), durable=False)
        yield
    finally:
        with suppress(DatasetError):
            remove(root, root / HOLDER_NAME)
        lock.release()


def _acquire(lock: FileLock, root: Path, timeout_s: float, notify: Callable[[str], None]) -> bool:
    if lock.acquire(timeout_s=0):
        return True
    notify(f"waiting for another run that writes to {root} ({holder(root)})")
    return lock.acquire(timeout_s=timeout_s)


def _warn(message: str) -> None:
    import logging  # for those who wait alone

    logging.getLogger("fibcore.dataset").warning(message)


def holder(root: Path) -> str:
    """Describe the process that holds the lock, as far as it left its name."""
    try:
        said = decode(read_bytes(root / HOLDER_NAME, _HOLDER_BYTES))
        return f"process {said['pid']} on {said['host']}: {said['command']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "a process that did not give its name"


def _this_process() -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else sys.executable
    import socket  # for the lock alone

    said = {"pid": os.getpid(), "host": socket.gethostname(), "command": command[:200]}
    return json.dumps(said) + "\n"
