"""The dataset as a whole: reading it, adding definitions, writing files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from fibcore.dataset import conflicts
from fibcore.dataset.adding import DefinitionWriter
from fibcore.dataset.conflicts import Conflict
from fibcore.dataset.files import (
    BrokenFileError,
    below,
    encoded,
    holds,
    relative,
    remove,
    write_bytes,
)
from fibcore.dataset.index import Index
from fibcore.dataset.layout import TOP_FOLDERS
from fibcore.dataset.locking import locked
from fibcore.dataset.merging import UNVERIFIED, VERIFIED, Variant
from fibcore.dataset.outcome import Outcome
from fibcore.dataset.provenance import ImportEntry, Provenance, ProvenanceEntry
from fibcore.dataset.provenance_files import read_provenance
from fibcore.dataset.temporaries import sweep
from fibcore.errors import DatasetError, PluginError
from fibcore.model.definition import Definition


class Contents(NamedTuple):
    """Definitions of a dataset.

    Attributes:
        definitions: The usable definitions by op type and name.
        errors: One error for each file that is not usable.
    """

    definitions: tuple[Definition, ...]
    errors: tuple[BrokenFileError, ...]


def _no_variant(_: Definition) -> str:
    return ""


class Dataset:
    """A flashinfer-trace dataset folder.

    Reading needs no lock: files are replaced in one step. Whatever writes takes the lock of the
    folder; `with dataset.locked():` takes it once for many writes, and reads the folder once. An
    object belongs to one thread.

    Attributes:
        root: The folder; made when something is first written.
        dry_run: Whether nothing is ever written.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        variant: Variant = _no_variant,
        dry_run: bool = False,
        lock_timeout_s: float = 600.0,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        """Open a dataset.

        Args:
            root: The folder; it need not exist.
            variant: Names the function that a definition computes, where its tensors are not
                enough (`Registry.variant`).
            dry_run: Say what would happen and write nothing.
            lock_timeout_s: Seconds to wait for another run that writes.
            notify: Called with a message when it has to wait; by default a log line.

        Raises:
            DatasetError: `root` is not a folder.
        """
        self.root = Path(root)
        self.dry_run = dry_run
        if self.root.exists() and not self.root.is_dir():
            raise DatasetError("a dataset is a folder", where=str(root), found="a file")
        self._variant = variant
        self._lock_timeout_s = lock_timeout_s
        self._notify = notify
        self._index = Index(self.root)
        self._depth = 0
        self._swept = False
        self._dry_started = False
        self._writer = DefinitionWriter(self.root, self._index, variant, dry_run=dry_run)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the dataset's lock; at the end the conflict reports are brought up to date.

        Raises:
            DatasetError: the lock is not to be had, or the folder cannot be read or written.
        """
        if self._depth or self.dry_run:
            if self.dry_run and not self._dry_started:
                self._index.refresh()
                self._dry_started = True  # from now on the index knows what would be there
            yield
            return
        with locked(self.root, self._lock_timeout_s, self._notify):
            self._depth += 1
            self._writer.settled.clear()
            try:
                if not self._swept:
                    sweep(self.root, TOP_FOLDERS)
                    self._swept = True
                self._index.refresh()
                try:
                    yield
                except Exception:
                    # What was stored so far is stored; the error says what went wrong.
                    with suppress(DatasetError):
                        conflicts.write_reports(self.root, self.conflicts())
                    raise
                conflicts.write_reports(self.root, self.conflicts())
            finally:
                self._depth -= 1

    def read(self) -> Contents:
        """All definitions, and the errors of the files that hold none.

        Raises:
            DatasetError: the definitions folder cannot be read at all.
        """
        self._fresh()
        definitions = sorted(
            (stored.definition for stored in self._index.by_name.values()),
            key=lambda d: (d.op_type, d.name),
        )
        return Contents(tuple(definitions), tuple(self._index.errors.values()))

    def get(self, name: str) -> Definition | None:
        """The definition of this name, None where there is none.

        Raises:
            BrokenFileError: there is a file of this name and it is not usable.
        """
        self._fresh()
        stored = self._index.by_name.get(name)
        if stored is None:
            self._writer.refuse_broken(name)
            return None
        return stored.definition

    def path(self, definition: Definition) -> Path:
        """The file of a definition."""
        return self._writer.path_of(definition)

    def conflicts(self) -> list[Conflict]:
        """The conflicts that are open; see `fibcore.dataset.conflicts`."""
        self._fresh()
        definitions = {name: stored.definition for name, stored in self._index.by_name.items()}
        return conflicts.open_conflicts(definitions, self._same_for_report, self._reported_variant)

    def provenance(self, name: str) -> Provenance | None:
        """Read the provenance of a definition; None where there is none.

        Raises:
            BrokenFileError: the record cannot be read.
        """
        return read_provenance(self.root, name)

    def add(
        self,
        definition: Definition,
        provenance: ProvenanceEntry | ImportEntry | None = None,
        *,
        update: bool = False,
    ) -> Outcome:
        """Bring a definition in.

        A kernel that the dataset has (same structure and variant) stays as it is and gets the
        tags of the one that comes. That holds for its reference and description too, whoever
        wrote them, because evidence and solutions refer to them; `Outcome.reference_differs` says
        when they differ. With `update` the words and the reference that come take their place,
        and the status follows the reference. Within one `locked` the first that comes stays even
        so, so that models that differ in an epsilon do not undo each other.

        A kernel of another structure that has the name keeps it; the one that comes is stored as
        `<name>_v2`, `_v3` and so on, and found there the next time.

        Args:
            definition: The definition, tags included.
            provenance: Where it comes from; recorded under the name that the dataset uses.
            update: Replace words and reference of a definition that is there.

        Raises:
            DatasetError: a file in the way is broken, the name cannot be a file name or differs
                from another one in case alone, or the file cannot be written.
            PluginError: the plugin cannot name the variant.
        """
        with self.locked():
            return self._writer.add(definition, provenance, update=update)

    def set_status(self, name: str, verified: bool, *, reference_hash: str | None = None) -> bool:
        """Give a definition the tag status:verified or status:unverified.

        Args:
            name: The definition.
            verified: Which of the two.
            reference_hash: The reference that the finding is about (`Definition.reference_hash`).

        Returns:
            Whether the file changed.

        Raises:
            DatasetError: there is no such definition, or its reference is another one by now.
        """
        with self.locked():
            stored = self._index.by_name.get(name)
            if stored is not None and self._index.refresh_file(stored.path):
                stored = self._index.by_name.get(name)
            if stored is None:
                self._writer.refuse_broken(name)
                raise DatasetError("no such definition", where=str(self.root), found=name)
            definition = stored.definition
            if reference_hash not in (None, definition.reference_hash):
                raise DatasetError(
                    "the reference changed since it was tested",
                    where=relative(self.root, stored.path),
                    expected=f"sha256 {reference_hash}",
                    found=f"sha256 {definition.reference_hash}",
                    hint="run the tests again",
                )
            tag = VERIFIED if verified else UNVERIFIED
            return self._writer.store(definition.with_tags(tag, without="status"), stored)

    def write(self, path: str, content: str | bytes) -> bool:
        """Write another file of the dataset (a test, a report), whole or not at all.

        Args:
            path: The file relative to the dataset, with forward slashes.
            content: What it should hold; text is written in UTF-8.

        Returns:
            Whether the file changed.

        Raises:
            DatasetError: the path leads out of the dataset, or the file cannot be written.
        """
        target = below(self.root, path)
        data = encoded(content) if isinstance(content, str) else content
        if self.dry_run:
            return not holds(target, data)
        with self.locked():
            return write_bytes(self.root, target, data)

    def remove(self, path: str) -> bool:
        """Remove another file of the dataset if it is there.

        Args:
            path: The file relative to the dataset, with forward slashes.

        Returns:
            Whether it was there.

        Raises:
            DatasetError: the path leads out of the dataset, or the file cannot be removed.
        """
        target = below(self.root, path)
        if self.dry_run:
            return target.exists()
        with self.locked():
            return remove(self.root, target)

    def _fresh(self) -> None:
        if not self._depth and not self._dry_started:
            self._index.refresh()

    def _reported_variant(self, definition: Definition) -> str:
        """The variant for reports, which a failing plugin must not keep from being written."""
        try:
            return self._variant(definition)
        except PluginError as error:
            return f"unknown for {definition.name}: {error.message}"

    def _same_for_report(self, one: Definition, other: Definition) -> bool:
        if one.structure() != other.structure():
            return False
        return self._reported_variant(one) == self._reported_variant(other)
