"""Folders and files that are complete or absent, whatever interrupts the work on them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fibcore.errors import SourceError
from fibcore.keywords import user_path
from fibcore.processes.locks import FileLock
from fibcore.progress import Progress, report

PARTIAL = ".fibcore-partial-"
"""Prefix of folders and files that are still being filled; what holds the lock may remove them."""

LOCK = ".fibcore-sources.lock"


def cache_root() -> Path:
    """`$FIBCORE_CACHE`, else fibcore's folder below the user's cache folder (XDG)."""
    chosen = os.environ.get("FIBCORE_CACHE")
    if chosen:
        return user_path(chosen, "FIBCORE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return user_path(base or "~/.cache", "XDG_CACHE_HOME") / "fibcore"


@contextlib.contextmanager
def locked(folder: Path, progress: Progress | None = None) -> Iterator[None]:
    """Hold the lock on `folder`'s source trees, waiting for another run that has it.

    Creates the folder, and removes what interrupted runs left in it.

    Raises:
        SourceError: the folder cannot be created or written.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not lock.acquire(timeout_s=0):
            report(progress, f"waiting for another run that works in {folder}")
            lock.acquire()
        sweep(folder)
    except OSError as error:
        lock.release()
        raise unusable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def sweep(folder: Path) -> None:
    """Remove what interrupted runs left in `folder`; only for who holds its lock."""
    for entry in folder.glob(PARTIAL + "*"):
        remove(entry)


def remove(path: Path) -> None:
    """Remove a file, link or folder that this package made."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new empty folder beside `target` that becomes `target` when the block ends well.

    A folder that is at `target` then gives way, so callers allow that only for what they made. An
    exception, Ctrl-C included, removes the new folder and leaves `target` as it was.

    Raises:
        SourceError: the disk refuses.
    """
    try:
        new = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=target.parent))
        new.chmod(0o755)
    except OSError as error:
        raise unusable(target.parent, error) from error
    try:
        yield new
        try:
            _put(new, target)
        except OSError as error:
            raise unusable(target, error) from error
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _put(new: Path, target: Path) -> None:
    if not target.exists() and not target.is_symlink():
        new.rename(target)
        return
    old = new.with_name(new.name + "-old")
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    # What cannot be removed now bears the prefix by which the next run finds it.
    with contextlib.suppress(OSError):
        remove(old)


def write_json(path: Path, data: Any) -> None:
    """Write `data` to `path` in one step: the old file or the new one, never a part.

    Raises:
        SourceError: the disk refuses.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise unusable(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def unusable(path: Path, error: OSError) -> SourceError:
    """The error for a folder or file that the operating system refuses."""
    return SourceError(
        "cannot be used",
        where=str(path),
        found=error.strerror or str(error),
        hint="check permissions and free space, or choose another folder",
    )
