"""What publishing does or would do, as data: for people, for `--json` and for the API."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.model.json import to_data
from fibcore.publishing.plan import FileChange


@attrs.frozen
class PublishReport:
    """The result of `fibcore.publish`.

    Attributes:
        dataset: The folder.
        repo_id: The dataset on the Hub.
        revision: The branch or pull request that it goes to; None for the main branch.
        pull_request: Whether it becomes a pull request.
        dry_run: Whether nothing was sent, because nobody said `yes`.
        parent: The commit of the Hub that was compared with.
        base: The commit that the folder is based on; None where that is not known.
        changes: What changes on the Hub.
        unchanged: How many files the Hub has just so.
        newer: Files that others changed on the Hub, and that are left alone.
        kept: Files that were removed here and stay on the Hub.
        left_out: Files in published folders that do not belong to the dataset's layout.
        title: First line of the message.
        description: The rest of it.
        refusals: Why nothing may be published; each says what to do.
        notes: What a reader should know besides.
        url: The commit or pull request that was made; None where none was.
        commit: Its id.
    """

    dataset: str
    repo_id: str
    revision: str | None
    pull_request: bool
    dry_run: bool
    parent: str
    base: str | None
    changes: tuple[FileChange, ...]
    unchanged: int
    newer: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    refusals: tuple[FibcoreError, ...] = ()
    notes: tuple[str, ...] = ()
    url: str | None = None
    commit: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many files are added, changed, deleted and unchanged, and the bytes to upload."""
        kinds = Counter(change.kind for change in self.changes)
        return {
            "added": kinds["added"],
            "changed": kinds["changed"],
            "deleted": kinds["deleted"],
            "unchanged": self.unchanged,
            "bytes": sum(change.size for change in self.changes),
        }

    @property
    def exit_code(self) -> int:
        """1 where publishing is refused, else 0."""
        return 1 if self.refusals else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        data = to_data(self)
        refusals = data.pop("refusals")
        return {
            **data,
            "refusals": refusals,
            "counts": self.counts,
            "exit_code": self.exit_code,
        }
