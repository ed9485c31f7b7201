"""The files of a dataset folder that are published, and what identifies their content."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import attrs

from fibcore.dataset.files import check_inside, os_error
from fibcore.errors import DatasetError
from fibcore.regular_files import check_regular, read_bytes

PUBLISHED = (
    "definitions/*/*.json",
    "tests/references/*.py",
    "workloads/**/*.jsonl",
    "blob/**",
    "solutions/**/*.json",
    "traces/**/*.jsonl",
)
"""What belongs to the dataset; `**` stands for any folders, but at least one name follows."""

REPORTS = (
    "reports/provenance/*.json",
    "reports/verification/*.json",
    "reports/certificates/*.json",
    "reports/certificates/*.yaml",
)
"""What proves it: where numbers come from, which tests passed, and what benchmarks can tell."""

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*"
    rb"oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_POINTER_LIMIT = 1024
_CHUNK = 1 << 20


@attrs.frozen
class LocalFile:
    """A file of the dataset folder.

    Attributes:
        name: Its path below the folder, with forward slashes.
        path: Where it is.
        size: Its size in bytes.
        pointer: SHA-256 and size of the content where the file is only a git-LFS pointer to it.
    """

    name: str
    path: Path
    size: int
    pointer: tuple[str, int] | None = None

    @functools.cached_property
    def _hashes(self) -> tuple[str, str]:
        blob = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        content = hashlib.sha256()
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    blob.update(chunk)
                    content.update(chunk)
        except OSError as error:
            raise os_error(error, self.path, "read the file") from error
        return blob.hexdigest(), content.hexdigest()

    @property
    def blob_id(self) -> str:
        """The id under which git stores the file: SHA-1 of `blob SIZE` and the content."""
        return self._hashes[0]

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, the id under which git-LFS stores it."""
        return self.pointer[0] if self.pointer else self._hashes[1]

    def is_blob(self, blob_id: str) -> bool:
        """Whether the file is git's blob of this id, as itself or by its LFS pointer."""
        if self.blob_id == blob_id:
            return True
        size = self.pointer[1] if self.pointer else self.size
        text = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {size}\n"
        )
        data = text.encode("ascii")
        header = b"blob %d\0" % len(data)
        return hashlib.sha1(header + data, usedforsecurity=False).hexdigest() == blob_id


@attrs.frozen
class LocalFiles:
    """What a dataset folder has to publish.

    Attributes:
        files: By name.
        left_out: Files in published folders that do not belong to the layout.
        errors: Files that cannot be published: links that lead out of the folder.
    """

    files: dict[str, LocalFile]
    left_out: tuple[str, ...]
    errors: tuple[DatasetError, ...]


def patterns(*, reports: bool) -> tuple[str, ...]:
    """The patterns of what is published."""
    return (*PUBLISHED, *REPORTS) if reports else PUBLISHED


def is_published(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a path fits one of the patterns; hidden files and caches never do."""
    parts = PurePosixPath(name).parts
    if any(p.startswith(".") or p == "__pycache__" or p.endswith("~") for p in parts):
        return False
    return any(_fits(parts, tuple(pattern.split("/"))) for pattern in wanted)


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        return any(_fits(parts[n:], rest) for n in range(len(parts)))
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def find_files(root: Path, wanted: tuple[str, ...]) -> LocalFiles:
    """The files of a dataset folder that are published.

    Args:
        root: The folder.
        wanted: Patterns of what is.

    Raises:
        DatasetError: a folder or file cannot be read.
    """
    files: dict[str, LocalFile] = {}
    left_out: list[str] = []
    errors: list[DatasetError] = []
    for name in _names(root, wanted):
        if not is_published(name, wanted):
            left_out.append(name)
            continue
        path = root / name
        try:
            check_inside(root, path)
        except DatasetError as error:
            errors.append(error)
            continue
        files[name] = _local(name, path)
    return LocalFiles(files, tuple(left_out), tuple(errors))


def _names(root: Path, wanted: tuple[str, ...]) -> Iterator[str]:
    """All files in the folders of the patterns, sorted; not the hidden ones, nor caches."""
    tops = dict.fromkeys(pattern.split("/")[0] for pattern in wanted)

    def refuse(error: OSError) -> None:
        raise os_error(error, Path(error.filename or root), "read the folder") from error

    for top in tops:
        if not (root / top).is_dir():
            continue
        for folder, below, names in os.walk(root / top, onerror=refuse):
            below[:] = sorted(b for b in below if not b.startswith(".") and b != "__pycache__")
            for name in sorted(names):
                if not name.startswith(".") and not name.endswith("~"):
                    yield Path(folder, name).relative_to(root).as_posix()


def _local(name: str, path: Path) -> LocalFile:
    try:
        check_regular(path)
        size = path.stat().st_size
        head = read_bytes(path) if size <= _POINTER_LIMIT else b""
    except OSError as error:
        raise os_error(error, path, "read the file") from error
    match = _POINTER.fullmatch(head)
    pointer = (match[1].decode(), int(match[2])) if match else None
    return LocalFile(name, path, size, pointer)
