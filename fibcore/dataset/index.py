"""The definitions of a dataset: read from their files once, found by name and structure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.files import BrokenFileError, check_inside, read_text, relative
from fibcore.dataset.layout import DEFINITIONS
from fibcore.errors import DatasetError, DefinitionError
from fibcore.model.definition import Definition

Stamp = tuple[int, int, int, int]
"""Facts that change when a file changes: inode, size, times of its content and of its entry."""


@attrs.frozen
class StoredDefinition:
    """A definition and the file it was read from.

    Attributes:
        definition: The definition.
        path: Its file.
        stamp: The file's stamp when it was read; None where there is no file (a dry run).
    """

    definition: Definition
    path: Path
    stamp: Stamp | None


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file, None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def read_definition(root: Path, path: Path) -> Definition:
    """The definition in a file, which has to lie where its op type and name say.

    Raises:
        BrokenFileError: the file cannot be read or holds no valid definition of this place.
    """
    name = relative(root, path)
    text = read_text(root, path)
    try:
        definition = Definition.from_json(text)
    except DefinitionError as error:
        raise BrokenFileError(
            error.message,
            path=name,
            place=error.where,
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from None
    for key, have, where in (
        ("op_type", path.parent.name, "folder"),
        ("name", path.name.removesuffix(".json"), "file"),
    ):
        value = getattr(definition, key)
        if value != have:
            raise BrokenFileError(
                f"the {where} and the field {key} disagree",
                path=name,
                place=f"$.{key}",
                expected=repr(have),
                found=repr(value),
            )
    return definition


class Index:
    """The definitions of a dataset by name and by structure, kept in step with the folder.

    Attributes:
        by_name: The usable definitions by name.
        errors: One error for each file or folder that is not usable, by relative path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_name: dict[str, StoredDefinition] = {}
        self.errors: dict[str, BrokenFileError] = {}
        self._files: dict[Path, tuple[Stamp | None, Definition | BrokenFileError]] = {}
        self._by_folded: dict[str, str] = {}
        self._by_structure: dict[tuple[Any, ...], list[str]] = {}
        self._folders: dict[str, str] = {}

    def refresh(self) -> None:
        """Read what is new or changed in the folder.

        Raises:
            DatasetError: the folder itself cannot be read.
        """
        self.by_name, self.errors = {}, {}
        self._by_folded, self._by_structure, self._folders = {}, {}, {}
        seen: dict[Path, tuple[Stamp | None, Definition | BrokenFileError]] = {}
        for path in self._paths():
            stamp = stamp_of(path)
            known = self._files.get(path)
            if known is None or stamp is None or known[0] != stamp:
                known = (stamp, self._read(path))
            seen[path] = known
            if isinstance(known[1], BrokenFileError):
                self.errors[relative(self.root, path)] = known[1]
            else:
                self._take(StoredDefinition(known[1], path, stamp))
        self._files = seen

    def refresh_file(self, path: Path) -> bool:
        """Read one file again where it changed since; whether it did."""
        stored = self.by_name.get(path.name.removesuffix(".json"))
        known = stored.stamp if stored is not None and stored.path == path else None
        if stamp_of(path) == known and not path.is_symlink():
            return False
        # Rare, and with consequences for everything that is indexed: read the folder again.
        self.refresh()
        return True

    def put(self, stored: StoredDefinition) -> None:
        """Take in a definition that was just written, in the place of an earlier one."""
        name = stored.definition.name
        before = self.by_name.pop(name, None)
        if before is not None:
            self._by_structure[before.definition.structure()].remove(name)
        self._files[stored.path] = (stored.stamp, stored.definition)
        self._take(stored)

    def same_structure(self, definition: Definition) -> list[StoredDefinition]:
        """The definitions with the structure of `definition`, by name."""
        names = self._by_structure.get(definition.structure(), ())
        return [self.by_name[name] for name in sorted(names)]

    def same_letters(self, name: str) -> str | None:
        """The name of a definition that differs from `name` in case alone, or not at all."""
        return self._by_folded.get(name.casefold())

    def folder_like(self, op_type: str) -> str | None:
        """The op type whose folder differs from `op_type` in case alone, or not at all."""
        return self._folders.get(op_type.casefold())

    def _read(self, path: Path) -> Definition | BrokenFileError:
        try:
            return read_definition(self.root, path)
        except BrokenFileError as error:
            return error

    def _take(self, stored: StoredDefinition) -> None:
        definition = stored.definition
        folded = definition.name.casefold()
        other = self._by_folded.get(folded)
        if (other is not None and other != definition.name) or definition.name in self.by_name:
            first = self.by_name[other or definition.name]
            path = relative(self.root, stored.path)
            self.errors[path] = BrokenFileError(
                "another definition has this name"
                if other == definition.name
                else "another definition's name differs in upper and lower case alone",
                path=path,
                place="$.name",
                found=relative(self.root, first.path),
                hint="remove or rename one of the two",
            )
            return
        self.by_name[definition.name] = stored
        self._by_folded[folded] = definition.name
        self._folders.setdefault(definition.op_type.casefold(), definition.op_type)
        self._by_structure.setdefault(definition.structure(), []).append(definition.name)

    def _paths(self) -> Iterator[Path]:
        """The definition files, sorted; folders that cannot be read become errors."""
        top = self.root / DEFINITIONS
        if not top.exists() and not top.is_symlink():
            return
        check_inside(self.root, top)
        for folder in _entries(top, relative(self.root, top)):
            if folder.name.startswith(".") or not (folder.is_dir() or folder.is_symlink()):
                continue
            try:
                check_inside(self.root, folder)
                entries = _entries(folder, relative(self.root, folder))
            except DatasetError as error:
                name = relative(self.root, folder)
                self.errors[name] = BrokenFileError(
                    error.message, path=name, found=error.found, hint=error.hint
                )
                continue
            self._folders.setdefault(folder.name.casefold(), folder.name)
            for path in entries:
                if path.suffix == ".json" and not path.name.startswith("."):
                    yield path


def _entries(folder: Path, name: str) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries)
    except OSError as error:
        raise BrokenFileError(
            "cannot read the folder", path=name, found=error.strerror or str(error)
        ) from None
