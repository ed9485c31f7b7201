"""Temporary files, in which others are written before they take their place; leftovers of them.

A process that is killed leaves the file that it was writing. Who holds a dataset's lock removes all
that lie in it; elsewhere a lock on the file itself tells a leftover from one that is being written.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_OWN = re.compile(r"\.fibcore-[0-9a-f]{16}\.tmp")
_OF_TESTS = re.compile(r"\..+\.(?P<pid>[1-9][0-9]{0,9})\.tmp")
"""What the recorder of the emitted tests writes, `.NAME.PID.tmp`."""

_EVIDENCE = "verification"
_MOMENT_S = 0.5
_LONG_S = 3600.0


def temporary_name() -> str:
    """A name that no other temporary file has."""
    return f".fibcore-{os.urandom(8).hex()}.tmp"


def hold(handle: int) -> None:
    """Show that a temporary file is being written, as long as it is open."""
    with suppress(ImportError, OSError):  # no such locks on this system, or on this file system
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(root: Path, folders: Iterable[str]) -> None:
    """Remove temporary files that a killed process or an interrupted machine left in a dataset.

    Only for who holds the dataset's lock: nobody else writes then, except tests that were started
    by hand. What cannot be removed stays until a later run can.

    Args:
        root: The dataset folder; of it only the top itself is looked through,
        folders: and all below these folders.
    """
    pending = [os.fspath(root / name) for name in folders]
    _sweep_folder(os.fspath(root), [])
    while pending:
        _sweep_folder(pending.pop(), pending)


def sweep_abandoned(folder: Path) -> None:
    """Remove temporary files in a folder that nobody locks, unless somebody is writing them."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _OWN.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_abandoned(entry)


def _remove_abandoned(entry: os.DirEntry[str]) -> None:
    with suppress(ImportError, OSError):
        import fcntl

        if _age_s(entry) < _MOMENT_S:
            return  # it may not be locked yet
        handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(entry.path).unlink()
        finally:
            os.close(handle)


def _sweep_folder(folder: str, pending: list[str]) -> None:
    of_tests = folder.endswith(_EVIDENCE)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif not entry.name.endswith(".tmp") or not entry.is_file(follow_symlinks=False):
                continue
            elif _OWN.fullmatch(entry.name) or (of_tests and _is_of_ended_tests(entry)):
                with suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108  # scandir gives text


def _is_of_ended_tests(entry: os.DirEntry[str]) -> bool:
    """Whether the process that wrote a file of evidence is no more, or it was long ago."""
    match = _OF_TESTS.fullmatch(entry.name)
    if match is None:
        return False
    age = _age_s(entry)
    if age > _LONG_S or age < _MOMENT_S or os.name != "posix":
        return age > _LONG_S
    try:
        os.kill(int(match["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _age_s(entry: os.DirEntry[str]) -> float:
    return time.time() - entry.stat(follow_symlinks=False).st_mtime
