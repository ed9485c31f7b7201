"""The files of a folder, and which of them may register something in a container of another one.

All of it is read off the text of the files: none is parsed for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from fibcore.regular_files import read_bytes

WORD = "regist"
"""What the names of functions that register something have in them."""
_WORD = WORD.encode()


@attrs.frozen
class Registry:
    """Containers of a module in which other modules register something.

    Attributes:
        name: What the module binds: a dict, list or set, or a class that has some.
        tables: The attributes that are the containers, of a class; empty where the name is one.
        functions: The functions of the module that register.
        methods: The methods of the class that do.
    """

    name: str
    tables: frozenset[str]
    functions: frozenset[str]
    methods: frozenset[str]


@attrs.frozen
class Area:
    """The files of a folder, in which somebody may register something.

    Attributes:
        folder: The folder.
        files: The file of a module and the words with `regist` in its text, by the module's name;
            only those that have one.
        states: All files, and what tells one content of each from another.
    """

    folder: Path
    files: Mapping[str, tuple[str, frozenset[str]]]
    states: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, folder: Path, package: str) -> Area:
        """Read the files of a folder that is the package of this name."""
        files = {}
        states = _states(folder)
        for path in states:
            try:
                text = read_bytes(path)
                words = words_in(text.decode("utf-8", "replace")) if _WORD in text else None
            except OSError:  # whoever needs it says so
                continue
            if words:
                parts = Path(path).relative_to(folder).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                files[".".join((package, *parts) if package else parts)] = path, words
        return cls(folder, files, states)

    def callers(self, registry: Registry) -> set[str]:
        """The modules in whose text stands what registers something in a registry."""
        found = set()
        for module, (path, words) in self.files.items():
            if words & registry.functions or (
                words & registry.methods and registry.name.encode() in read_bytes(path)
            ):
                found.add(module)
        return found

    def is_current(self) -> bool:
        """Whether the files are those that were read."""
        return _states(self.folder) == self.states


def words_in(text: str) -> frozenset[str]:
    """The words of a text that have `regist` in them."""
    found = set()
    at = text.find(WORD)
    while at >= 0:
        start, end = at, at + len(WORD)
        while start and in_name(text[start - 1]):
            start -= 1
        while end < len(text) and in_name(text[end]):
            end += 1
        found.add(text[start:end])
        at = text.find(WORD, end)
    return frozenset(found)


def in_name(character: str) -> bool:
    """Whether a character may stand in a name; "" is none."""
    return character.isalnum() or character == "_"


def _states(folder: Path) -> dict[str, tuple[int, ...]]:
    """The Python files of a folder and those in it, without links out of it."""
    found: dict[str, tuple[int, ...]] = {}
    pending = [os.fspath(folder)]
    while pending:
        for entry in _entries(pending.pop()):
            if entry.is_dir(follow_symlinks=False):
                if entry.name.isidentifier():
                    pending.append(entry.path)
            elif entry.name.endswith(".py") and entry.is_file(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                found[entry.path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # one that cannot be read holds no module that could be imported
        return []
