"""What publishing would do: the folder, what it is based on, and the Hub, file by file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from fibcore.errors import FibcoreError, PublishError
from fibcore.publishing.base import Base
from fibcore.publishing.local import LocalFile

Kind = Literal["added", "changed", "deleted"]
_SHOWN = 5


@attrs.frozen
class RemoteFile:
    """A file on the Hub.

    Attributes:
        name: Its path.
        size: Its size in bytes.
        blob_id: Git's id of the file, or of its LFS pointer.
        sha256: SHA-256 of the content where git-LFS stores it, else None.
    """

    name: str
    size: int
    blob_id: str
    sha256: str | None = None


@attrs.frozen
class FileChange:
    """A file that publishing changes on the Hub.

    Attributes:
        path: Its path.
        kind: "added", "changed" or "deleted".
        size: Bytes to upload; 0 where it is deleted.
    """

    path: str
    kind: Kind
    size: int


@attrs.define
class UploadPlan:
    """What publishing would do.

    Attributes:
        changes: What it changes on the Hub.
        unchanged: How many files the Hub has just so.
        newer: Files that others changed or removed on the Hub and that are here as they once
            were; left alone.
        kept: Files that were removed here and stay on the Hub.
        overwritten: Changes of others that this would undo.
        pointers: Files of which only the git-LFS pointer is here, and not the content.
    """

    changes: list[FileChange] = attrs.field(factory=list)
    unchanged: int = 0
    newer: list[str] = attrs.field(factory=list)
    kept: list[str] = attrs.field(factory=list)
    overwritten: list[str] = attrs.field(factory=list)
    pointers: list[str] = attrs.field(factory=list)

    def refusals(self, *, based: bool, overwrite: bool) -> list[FibcoreError]:
        """Why this may not be done.

        Args:
            based: Whether it is known on which commit of the Hub the folder is based.
            overwrite: Whether changes of others may be undone.
        """
        found: list[FibcoreError] = []
        if self.overwritten and not overwrite:
            found.append(
                PublishError(
                    "others changed files on the Hub that are different here"
                    if based
                    else "the Hub has other versions of files, and it is not known which are newer",
                    found=some(self.overwritten),
                    hint="bring the clone up to date (git pull, or fibcore clone-repos --update) "
                    "and settle what differs"
                    if based
                    else "work in a clone of the Hub's dataset (fibcore clone-repos makes one), "
                    "or say --overwrite if the files here are the right ones",
                )
            )
        if self.pointers:
            found.append(
                PublishError(
                    "the content of files is not here, only their git-LFS pointers",
                    found=some(self.pointers),
                    hint="fetch it (git lfs pull), or remove the files here",
                )
            )
        return found


def some(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    listed = list(names)
    more = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def same(local: LocalFile, remote: RemoteFile) -> bool:
    """Whether the Hub has the content of a file."""
    if remote.sha256 is not None:
        size = local.pointer[1] if local.pointer else local.size
        return size == remote.size and local.sha256 == remote.sha256
    return local.size == remote.size and local.blob_id == remote.blob_id


def plan_upload(
    local: Mapping[str, LocalFile],
    remote: Mapping[str, RemoteFile],
    base: Base | None,
    *,
    delete: bool,
) -> UploadPlan:
    """Compare the folder with the Hub.

    Where it is known what the folder is based on, a file that only others changed is left alone,
    and one that both changed is a change of others that would be undone. Where it is not known,
    so is every file that differs.

    Args:
        local: The files here that are published, by path.
        remote: The files on the Hub that are, likewise.
        base: What the folder is based on; None where that is not known.
        delete: Whether files that were removed here are removed on the Hub.
    """
    plan = UploadPlan()
    for name in sorted({*local, *remote}):
        here, there = local.get(name), remote.get(name)
        origin = base.blobs.get(name) if base is not None else None
        if here is None:
            assert there is not None
            _gone_here(plan, there, base, origin, delete=delete)
        elif there is not None and same(here, there):
            plan.unchanged += 1
        elif origin is not None and here.is_blob(origin):
            plan.newer.append(name)  # as it was once; the Hub has gone on
        else:
            if here.pointer is not None:
                plan.pointers.append(name)
            if there is not None and (base is None or origin != there.blob_id):
                plan.overwritten.append(name)
            if there is None and origin is not None:
                plan.overwritten.append(name)  # removed there, changed here
            kind: Kind = "added" if there is None else "changed"
            plan.changes.append(FileChange(name, kind, here.size))
    return plan


def _gone_here(
    plan: UploadPlan, there: RemoteFile, base: Base | None, origin: str | None, *, delete: bool
) -> None:
    if base is not None and origin is None:
        return  # new on the Hub
    if not delete:
        if base is not None:
            plan.kept.append(there.name)
        return
    if base is None or origin != there.blob_id:
        plan.overwritten.append(there.name)
    plan.changes.append(FileChange(there.name, "deleted", 0))
