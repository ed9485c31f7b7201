"""Adding a definition: new, merged, under another name or in conflict."""

from __future__ import annotations

from pathlib import Path

import attrs

from fibcore.dataset import conflicts
from fibcore.dataset.files import write_text
from fibcore.dataset.index import Index, StoredDefinition, stamp_of
from fibcore.dataset.layout import definition_file
from fibcore.dataset.merging import Variant, differences, merge
from fibcore.dataset.outcome import Outcome, OutcomeKind
from fibcore.dataset.provenance import ImportEntry, ProvenanceEntry
from fibcore.dataset.provenance_files import ProvenanceFile, with_entry
from fibcore.dataset.spelling import spelled
from fibcore.errors import DatasetError
from fibcore.model.definition import Definition
from fibcore.ops.checks import FILE_NAME


class DefinitionWriter:
    """Writes definitions and their provenance; the caller holds the dataset's lock.

    Attributes:
        root: The dataset's folder.
        index: The definitions that are there, kept up to date with what is written.
        variant: Names the function of a definition, where its tensors are not enough.
        dry_run: Whether nothing is written.
        settled: Names of the definitions that were stored since the lock was taken; `update`
            replaces none of these again.
    """

    def __init__(self, root: Path, index: Index, variant: Variant, *, dry_run: bool) -> None:
        self.root = root
        self.index = index
        self.variant = variant
        self.dry_run = dry_run
        self.settled: set[str] = set()

    def add(
        self,
        definition: Definition,
        entry: ProvenanceEntry | ImportEntry | None,
        *,
        update: bool = False,
    ) -> Outcome:
        """Bring a definition in; see `Dataset.add`."""
        known = self._find(definition)
        if known is None:
            return self._add_new(definition, entry)
        return self._add_known(definition, known, entry, update)

    def path_of(self, definition: Definition) -> Path:
        """The file of a definition."""
        return self.root / definition_file(definition)

    def store(
        self,
        definition: Definition,
        before: StoredDefinition | None,
        provenance: ProvenanceFile | None = None,
    ) -> bool:
        """Write a definition where it differs from `before`, and its provenance."""
        path = before.path if before is not None else self.path_of(definition)
        # Two files that hold an equal definition may differ in bytes; those of others stay.
        changed = before is None or definition.to_json() != before.definition.to_json()
        if changed:
            if not self.dry_run:
                write_text(self.root, path, definition.to_json())
            self.index.put(StoredDefinition(definition, path, stamp_of(path)))
        self.settled.add(definition.name)
        if provenance is not None and not self.dry_run:
            write_text(self.root, provenance.path, provenance.text)
        return changed

    def refuse_broken(self, name: str) -> None:
        """Raise the error of an unusable file that has this name, in whatever folder."""
        for error in self.index.errors.values():
            if Path(error.path).name.casefold() == f"{name}.json".casefold():
                raise error

    def _find(self, definition: Definition) -> StoredDefinition | None:
        """The dataset's definition of this kernel, that of the same name before others."""
        same = [
            stored
            for stored in self.index.same_structure(definition)
            if self.variant(stored.definition) == self.variant(definition)
        ]
        same.sort(key=lambda stored: stored.definition.name != definition.name)
        if same and self.index.refresh_file(same[0].path):
            return self._find(definition)  # it was edited by hand a moment ago
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
        folder = self.index.folder_like(definition.op_type)
        if folder not in (None, definition.op_type):
            raise DatasetError(
                "op types that differ in case alone cannot live in one dataset everywhere",
                where=definition.name,
                expected=folder,
                found=definition.op_type,
            )
        free = attrs.evolve(definition, name=self._spelled(definition))
        version = 2
        kept: Definition | None = None
        while True:
            other = self.index.same_letters(free.name)
            path = self.path_of(free)
            if other is None:
                self.refuse_broken(free.name)
                if not self.index.refresh_file(path):
                    break
                return self.add(definition, entry)  # another program wrote the file a moment ago
            if other != free.name:
                raise DatasetError(
                    "names that differ in case alone cannot live in one dataset everywhere",
                    where=definition.name,
                    found=other,
                    hint="rename one of the two",
                )
            kept = kept or self.index.by_name[other].definition
            free = attrs.evolve(definition, name=f"{self._spelled(definition)}_v{version}")
            version += 1
        self.store(free, None, self._provenance_file(free, entry, definition.name))
        return Outcome(
            kind="new" if kept is None else "conflict",
            requested=definition.name,
            definition=free,
            path=path,
            changed=True,
            differences=() if kept is None else differences(kept, free, self.variant),
        )

    def _spelled(self, definition: Definition) -> str:
        """The name of a new definition, with its sizes as the dataset's own names have them."""
        beside = (
            name
            for name, stored in self.index.by_name.items()
            if stored.definition.op_type == definition.op_type
        )
        return spelled(definition.name, beside)

    def _add_known(
        self,
        definition: Definition,
        known: StoredDefinition,
        entry: ProvenanceEntry | ImportEntry | None,
        update: bool,
    ) -> Outcome:
        """Merge a definition into the one of the same kernel that is there."""
        before = known.definition
        after = merge(before, definition, update=update and before.name not in self.settled)
        record = self._provenance_file(after, entry, definition.name)
        changed = self.store(after, known, record)
        words = attrs.evolve(after, tags=before.tags)
        kind: OutcomeKind = "unchanged"
        kept: Definition | None = None
        if before.name != definition.name:
            namesake = self.index.by_name.get(definition.name)
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
            differences=() if kept is None else differences(kept, after, self.variant),
            reference_differs=after.reference != definition.reference,
            constants=() if record is None else record.differing,
        )

    def _provenance_file(
        self, definition: Definition, entry: ProvenanceEntry | ImportEntry | None, kernel: str
    ) -> ProvenanceFile | None:
        """The provenance to write. A broken record is an error before anything is written."""
        if entry is None:
            return None
        entry = attrs.evolve(entry, kernel=entry.kernel or kernel)
        return with_entry(self.root, definition, entry)
