"""Files below a dataset's root: read without surprises, written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from fibcore.dataset.temporaries import hold, sweep_abandoned, temporary_name
from fibcore.errors import DatasetError
from fibcore.regular_files import MAX_BYTES, read_bytes

_HINTS = {
    errno.ENOSPC: "make room on the disk and run it again; nothing was half-written",
    errno.EDQUOT: "the disk quota is used up; make room and run it again",
    errno.EACCES: "give this user the right to write there, or name another dataset",
    errno.EPERM: "give this user the right to write there, or name another dataset",
    errno.EROFS: "the file system is read-only; name another dataset",
}


class BrokenFileError(DatasetError):
    """A file of the dataset cannot be used. It is never changed; the others go on.

    Attributes:
        path: The file, relative to the dataset.
        place: The place in it as JSON path or line, `$.axes.M.value`; None for the whole file.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str,
        place: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        """An error about `path`; see `FibcoreError` for the other arguments."""
        super().__init__(
            message,
            where=path if place is None else f"{path} {place}",
            expected=expected,
            found=found,
            hint=hint,
        )
        self.path = path
        self.place = place


def relative(root: Path, path: Path) -> str:
    """`path` below `root` with forward slashes, as reports name it."""
    return path.relative_to(root).as_posix()


def os_error(error: OSError, path: Path, doing: str) -> DatasetError:
    """A failed system call as an error that says what could not be done, and what to do."""
    return DatasetError(
        f"cannot {doing}",
        where=str(path),
        found=error.strerror or str(error),
        hint=_HINTS.get(error.errno or 0),
    )


def below(root: Path, parts: str) -> Path:
    """The path of `parts` (with forward slashes) below `root`.

    Raises:
        DatasetError: it would lie outside of `root`, by `..`, by a root of its own or by a
            symbolic link.
    """
    pure = PurePosixPath(parts)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or set(parts) & set("\\\0"):
        raise DatasetError("the path leads out of the dataset", where=str(root), found=repr(parts))
    path = root.joinpath(*pure.parts)
    check_inside(root, path)
    return path


def check_inside(root: Path, path: Path) -> None:
    """Refuse a path that a symbolic link leads out of `root`.

    Raises:
        DatasetError: it does.
    """
    try:
        real = path.resolve()
        inside = real.is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links before Python 3.13
        raise DatasetError(
            "a symbolic link cannot be followed", where=str(path), found=str(error)
        ) from None
    if not inside:
        raise DatasetError(
            "a symbolic link leads out of the dataset",
            where=str(path),
            expected=f"a path below {root}",
            found=str(real),
            hint="put a real file or folder in its place (cp -rL copies what links point to)",
        )


def read_text(root: Path, path: Path, limit: int = MAX_BYTES) -> str:
    """The text of a file of the dataset, which has at most `limit` bytes.

    Raises:
        BrokenFileError: it cannot be read, is no regular file or a larger one, is not UTF-8, or
            lies outside of the dataset.
    """
    name = relative(root, path)
    try:
        check_inside(root, path)
        return read_bytes(path, limit).decode("utf-8")
    except DatasetError as error:
        raise BrokenFileError(
            error.message, path=name, expected=error.expected, found=error.found, hint=error.hint
        ) from None
    except OSError as error:
        raise BrokenFileError(
            "cannot read the file", path=name, found=error.strerror or str(error)
        ) from None
    except UnicodeDecodeError as error:
        raise BrokenFileError(
            "not UTF-8", path=name, place=f"byte {error.start}", found=error.reason
        ) from None


def write_text(root: Path, path: Path, text: str, *, durable: bool = True) -> bool:
    """Write a text file of the dataset in UTF-8; see `write_bytes`."""
    return write_bytes(root, path, encoded(text), durable=durable)


def write_elsewhere(path: Path, text: str) -> bool:
    """Write a text file outside of datasets; see `write_bytes`.

    Nobody has a lock on its folder, from which leftovers of writers that were killed go first.
    """
    path = path.absolute()
    sweep_abandoned(path.parent)
    return write_text(path.parent, path, text)


def encoded(text: str) -> bytes:
    """A text in UTF-8, with what is no character (in a file's name) as the escape that JSON has."""
    return text.encode("utf-8", "backslashreplace")


def write_bytes(root: Path, path: Path, data: bytes, *, durable: bool = True) -> bool:
    """Write a file of the dataset, whole or not at all; folders are made as needed.

    The bytes go to a temporary file in the same folder, to the disk, and then in the place of
    the old file in one step, whatever interrupts it. A file that already holds them is left
    alone.

    Args:
        root: The dataset folder.
        path: The file, below `root`.
        data: Its new content.
        durable: Whether the bytes have to be on the disk before they take the old ones' place.

    Returns:
        Whether the file changed.

    Raises:
        DatasetError: no space, no permission, or a path that leads out of the dataset.
    """
    check_inside(root, path)
    temporary = path.with_name(temporary_name())
    try:
        if path.is_symlink():
            raise DatasetError("refusing to write through a symbolic link", where=str(path))
        if holds(path, data):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not tempfile: the file should have the permissions that any new file has.
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(handle, "wb") as file:
                hold(handle)
                if path.exists():
                    os.chmod(temporary, path.stat().st_mode & 0o7777)  # noqa: PTH101  # same file
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105  # the call that is one step
        except BaseException:  # KeyboardInterrupt too leaves nothing behind
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise
    except OSError as error:
        raise os_error(error, path, "write the file") from error
    return True


def lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a text that are not blank, with their numbers from 1, one at a time."""
    start, number = 0, 1
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end]
        if line.strip():
            yield number, line
        start, number = end + 1, number + 1


def holds(path: Path, data: bytes) -> bool:
    """Whether a file is there and has this content.

    Raises:
        DatasetError: what is there is no regular file, or cannot be read.
    """
    try:
        if path.stat().st_size != len(data) and path.is_file():
            return False
        return read_bytes(path, max(len(data), MAX_BYTES)) == data
    except FileNotFoundError:
        return False
    except OSError as error:
        raise os_error(error, path, "read the file") from error


def remove(root: Path, path: Path) -> bool:
    """Remove a file of the dataset if it is there.

    Returns:
        Whether it was there.

    Raises:
        DatasetError: it cannot be removed.
    """
    check_inside(root, path.parent)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise os_error(error, path, "remove the file") from error
    return True
