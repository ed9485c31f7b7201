"""The dataset as a whole: what is in it, and how definitions come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

import attrs

from fibcore.dataset import conflicts
from fibcore.dataset.conflicts import Conflict
from fibcore.dataset.files import (
    BrokenFileError,
    below,
    relative,
    remove,
    write_bytes,
    write_text,
)
from fibcore.dataset.locking import locked
from fibcore.dataset.merging import UNVERIFIED, VERIFIED, Difference, Variant, differences, merge
from fibcore.dataset.provenance import (
    ConstantDifference,
    ImportEntry,
    Provenance,
    ProvenanceEntry,
)
from fibcore.dataset.provenance_files import ProvenanceFile, read_provenance, with_entry
from fibcore.dataset.reading import DEFINITIONS, Index, Stored, stamp_of
from fibcore.errors import DatasetError, PluginError
from fibcore.model.definition import Definition
from fibcore.ops.checks import FILE_NAME

OutcomeKind = Literal["new", "merged", "unchanged", "updated", "same-kernel-other-name", "conflict"]


@attrs.frozen
class Outcome:
    """What became of a definition that was added.

    Attributes:
        kind: "new"; "merged" where tags came to the one that was there; "unchanged"; "updated"
            where its words or reference were replaced on request; "same-kernel-other-name" where
            the dataset has the kernel under another name, which is kept; "conflict" where another
            kernel has the name, so that this one is stored with a version suffix.
        requested: The name under which it came.
        definition: The definition as the dataset has it now; its name is the one to use.
        path: Its file.
        changed: Whether the definition's file was written (or would be, in a dry run). Adding a
            conflicting definition again is a "conflict" that changes nothing.
        added_tags: Tags that came to a definition that was there.
        differences: "conflict": field by field against the definition that has the name.
        reference_differs: Whether the dataset keeps another reference than the one that came.
        constants: Constants in which the models that share the definition differ.
    """

    kind: OutcomeKind
    requested: str
    definition: Definition
    path: Path
    changed: bool
    added_tags: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    reference_differs: bool = False
    constants: tuple[ConstantDifference, ...] = ()

    @property
    def name(self) -> str:
        """The name of the definition in the dataset."""
        return self.definition.name

    @property
    def message(self) -> str:
        """The outcome in a line for people."""
        if self.kind == "conflict":
            fields = ", ".join(d.field for d in self.differences)
            text = f"{self.requested}: another kernel has this name (they differ in {fields}); "
            text += f"stored as {self.name}"
        elif self.kind == "same-kernel-other-name":
            text = f"{self.requested}: the dataset has this kernel as {self.name}, which is kept"
        else:
            text = f"{self.requested}: {self.kind}"
        if self.added_tags:
            text += f"; tags added: {', '.join(self.added_tags)}"
        for constant in self.constants:
            text += f"; {constant}"
        if self.reference_differs and not self.constants:
            text += "; the dataset's reference differs from this one and stays"
        return text


class Contents(NamedTuple):
    """What a dataset holds.

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
            variant: Names the function that a definition computes, where its tensors do not tell
                (`Registry.variant`).
            dry_run: Say what would happen and write nothing.
            lock_timeout_s: Seconds to wait for another run that writes.
            notify: Is told when there is waiting to do; by default a log line.

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
        self._dry_started = False
        self._settled: set[str] = set()

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
            self._settled.clear()
            try:
                self._index.refresh(clean=True)
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
            self._refuse_broken(name)
            return None
        return stored.definition

    def path(self, definition: Definition) -> Path:
        """The file of a definition."""
        return self.root / DEFINITIONS / definition.op_type / f"{definition.name}.json"

    def conflicts(self) -> list[Conflict]:
        """The conflicts that are open; see `fibcore.dataset.conflicts`."""
        self._fresh()
        definitions = {name: stored.definition for name, stored in self._index.by_name.items()}
        return conflicts.open_conflicts(definitions, self._same_for_report, self._told_variant)

    def provenance(self, name: str) -> Provenance | None:
        """What is recorded about where a definition's numbers come from.

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
            PluginError: the variant cannot be told.
        """
        with self.locked():
            known = self._find(definition)
            if known is None:
                return self._add_new(definition, provenance)
            return self._add_known(definition, known, provenance, update)

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
                self._refuse_broken(name)
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
            return self._store(definition.with_tags(tag, without="status"), stored)

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
        data = content.encode() if isinstance(content, str) else content
        if self.dry_run:
            return not target.exists() or target.read_bytes() != data
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

    def _find(self, definition: Definition) -> Stored | None:
        """The dataset's definition of this kernel, that of the same name before others."""
        same = [
            stored
            for stored in self._index.same_structure(definition)
            if self._variant(stored.definition) == self._variant(definition)
        ]
        same.sort(key=lambda stored: stored.definition.name != definition.name)
        if same and self._index.refresh_file(same[0].path):
            return self._find(definition)  # somebody edited it by hand a moment ago
        return same[0] if same else None

    def _add_new(
        self, definition: Definition, entry: ProvenanceEntry | ImportEntry | None
    ) -> Outcome:
        """Store a kernel that the dataset does not have, under its name or a suffixed one."""
        for name in (definition.name, definition.op_type):
            if not FILE_NAME.fullmatch(name):
                raise DatasetError(
                    "the name cannot be a file name everywhere",
                    where=definition.name,
                    expected="letters, digits, _ - + . (no . first)",
                    found=repr(name),
                )
        folder = self._index.folder_like(definition.op_type)
        if folder not in (None, definition.op_type):
            raise DatasetError(
                "op types that differ in case alone cannot live in one dataset everywhere",
                where=definition.name,
                expected=folder,
                found=definition.op_type,
            )
        free = definition
        version = 2
        kept: Definition | None = None
        while True:
            other = self._index.same_letters(free.name)
            path = self.path(free)
            if other is None:
                self._refuse_broken(free.name)
                if not self._index.refresh_file(path):
                    break
                return self.add(definition, entry)  # somebody wrote the file a moment ago
            if other != free.name:
                raise DatasetError(
                    "names that differ in case alone cannot live in one dataset everywhere",
                    where=definition.name,
                    found=other,
                    hint="rename one of the two",
                )
            kept = kept or self._index.by_name[other].definition
            free = attrs.evolve(definition, name=f"{definition.name}_v{version}")
            version += 1
        self._store(free, None, self._record(free, entry, definition.name))
        return Outcome(
            kind="new" if kept is None else "conflict",
            requested=definition.name,
            definition=free,
            path=path,
            changed=True,
            differences=() if kept is None else differences(kept, free, self._variant),
        )

    def _add_known(
        self,
        definition: Definition,
        known: Stored,
        entry: ProvenanceEntry | ImportEntry | None,
        update: bool,
    ) -> Outcome:
        """Merge a definition into the one of the same kernel that is there."""
        before = known.definition
        after = merge(before, definition, update=update and before.name not in self._settled)
        record = self._record(after, entry, definition.name)
        changed = self._store(after, known, record)
        words = attrs.evolve(after, tags=before.tags)
        kind: OutcomeKind = "unchanged"
        kept: Definition | None = None
        if before.name != definition.name:
            namesake = self._index.by_name.get(definition.name)
            ours = conflicts.base_name(before.name) == definition.name and namesake is not None
            kept = namesake.definition if namesake is not None and ours else None
            kind = "conflict" if ours else "same-kernel-other-name"
        elif words.to_json() != before.to_json():
            kind = "updated"
        elif changed:
            kind = "merged"
        return Outcome(
            kind=kind,
            requested=definition.name,
            definition=after,
            path=known.path,
            changed=changed,
            added_tags=tuple(t for t in after.tags if t not in before.tags),
            differences=() if kept is None else differences(kept, after, self._variant),
            reference_differs=after.reference != definition.reference,
            constants=() if record is None else record.differing,
        )

    def _record(
        self, definition: Definition, entry: ProvenanceEntry | ImportEntry | None, kernel: str
    ) -> ProvenanceFile | None:
        """The provenance to write. A broken record is an error before anything is written."""
        if entry is None:
            return None
        entry = attrs.evolve(entry, kernel=entry.kernel or kernel)
        return with_entry(self.root, definition, entry)

    def _store(
        self,
        definition: Definition,
        before: Stored | None,
        record: ProvenanceFile | None = None,
    ) -> bool:
        """Write a definition where it differs from `before`, and its provenance."""
        path = before.path if before is not None else self.path(definition)
        # Two files that hold an equal definition may differ in bytes; those of others stay.
        changed = before is None or definition.to_json() != before.definition.to_json()
        if changed:
            if not self.dry_run:
                write_text(self.root, path, definition.to_json())
            self._index.put(Stored(definition, path, stamp_of(path)))
        self._settled.add(definition.name)
        if record is not None and not self.dry_run:
            write_text(self.root, record.path, record.text)
        return changed

    def _refuse_broken(self, name: str) -> None:
        """Raise the error of an unusable file that has this name, in whatever folder."""
        for error in self._index.errors.values():
            if Path(error.path).name.casefold() == f"{name}.json".casefold():
                raise error

    def _told_variant(self, definition: Definition) -> str:
        """The variant for reports, which a failing plugin must not keep from being written."""
        try:
            return self._variant(definition)
        except PluginError as error:
            return f"unknown for {definition.name}: {error.message}"

    def _same_for_report(self, one: Definition, other: Definition) -> bool:
        if one.structure() != other.structure():
            return False
        return self._told_variant(one) == self._told_variant(other)
