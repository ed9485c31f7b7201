"""Files as they are read: regular ones alone, and up to a size.

Configs, datasets, traces and source trees come from anywhere. To open a FIFO waits for a writer who
may never come, a device may have no end, and a file of many gigabytes takes all memory; so what is
no regular file, or larger than any file of its kind, is an `OSError` like one that is missing.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 32 << 20
"""The largest file that is read whole: JSON of this size takes less than 1 GB once it is parsed."""

MAX_LINES_BYTES = 128 << 20
"""The largest file that is read line by line."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_CHUNK = 1 << 20
# A FIFO that takes the file's place after it was looked at must not be waited for either.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_FLAGS |= getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: The file; links are followed.
        limit: The most bytes that it may have.

    Raises:
        OSError: there is none, it cannot be read, it is something else than a regular file, or it
            is larger; `strerror` says which.
    """
    name = os.fspath(path)
    try:
        # Before it is opened: to open a device may do something to it.
        _check(Path(name).stat(), name, limit)
        handle = os.open(name, _FLAGS)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), name) from None
    try:
        size = _check(os.fstat(handle), name, limit)
        pieces: list[bytes] = []
        have = 0
        while piece := os.read(handle, min(max(size - have, 0) + 1, _CHUNK)):
            pieces.append(piece)
            have += len(piece)
            if have > limit:  # it grows while it is read, or does not tell its size
                raise _too_large(name, have, limit)
    finally:
        os.close(handle)
    return b"".join(pieces)


def read_text(
    path: str | os.PathLike[str],
    limit: int = MAX_BYTES,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> str:
    """The text of a regular file, in which a line feed alone ends a line.

    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: it is not text of this encoding.
    """
    text = read_bytes(path, limit).decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def is_there(path: Path) -> bool:
    """Whether there is anything at a path, be it a link to nothing."""
    return path.exists() or path.is_symlink()


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file, for who reads a file otherwise than whole.

    Raises:
        OSError: as `read_bytes`.
    """
    _check(Path(path).stat(), os.fspath(path), None)


def _check(found: os.stat_result, name: str, limit: int | None) -> int:
    """The size of a file that may be read."""
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, which is no regular file", name)
    if limit is not None and found.st_size > limit:
        raise _too_large(name, found.st_size, limit)
    return found.st_size


def _too_large(name: str, size: int, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"{size} bytes, where at most {limit} are read", name)
