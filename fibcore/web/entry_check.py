"""What a file of the site says, read as plain data: to check an edit, and how others count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fibcore.errors import WebError
from fibcore.web.entry import WebEntry
from fibcore.web.models_file import Entry, ModelsFile, read_models
from fibcore.web.modules import Counts
from fibcore.web.typescript import NOT_LITERAL, Source, members, parse

if TYPE_CHECKING:
    from tree_sitter import Node

_SAMPLE = 3
"""Entries that tell how modules are counted: the last ones."""

_LEVELS = 4
"""Levels of an entry: it, its modules, a module, the list of its definitions."""


def check_edit(before: ModelsFile, data: bytes, where: str, wanted: WebEntry) -> None:
    """Read the result again: it has what was wanted, and every other entry byte for byte.

    Raises:
        WebError: it is not so, which would be a defect; nothing was written then.
    """
    try:
        after = read_models(parse(data, where))
        entry = after.entry(wanted.id)
        good = entry is not None and _has(after.source, entry, wanted)
        good = good and _others(before, wanted.id) == _others(after, wanted.id)
    except WebError as error:
        raise WebError(
            "the edited file would be broken, so nothing was written",
            where=where,
            found=error.message,
            hint="edit the entry by hand, and report this as a defect of fibcore",
        ) from error
    if not good:
        raise WebError(
            "the edit would not say what it should, so nothing was written",
            where=where,
            hint="edit the entry by hand, and report this as a defect of fibcore",
        )


def plain(source: Source, entry: Entry) -> dict[str, Any]:
    """An entry as plain data; what is no literal is None."""
    return _Plain(source).of(entry.value) if entry.value is not None else {}


def counts_of_others(file: ModelsFile, model: str) -> Counts | None:
    """How other entries count: a module in a block of 32 is there 32 times, or once in each."""
    others = [e for e in file.entries if e.value is not None and e.id != model]
    seen: set[Counts] = set()
    for entry in others[-_SAMPLE:]:
        modules = plain(file.source, entry).get("modules")
        modules = modules if isinstance(modules, dict) else {}
        for module in modules.values():
            if not isinstance(module, dict) or not isinstance(module.get("parent"), str):
                continue
            above = modules.get(module["parent"])
            many = above.get("count") if isinstance(above, dict) else None
            count = module.get("count")
            if isinstance(many, int) and isinstance(count, int) and many > 1:
                seen.add("parent" if count % many else "model")
    return seen.pop() if len(seen) == 1 else None


def _others(file: ModelsFile, model: str) -> list[bytes]:
    return [file.source.bytes_of(e.node) for e in file.entries if e.id != model]


def _has(source: Source, entry: Entry, wanted: WebEntry) -> bool:
    if entry.value is None:
        return False
    data = plain(source, entry)
    modules = data.get("modules")
    if not isinstance(modules, dict) or data.get("id", wanted.id) != wanted.id:
        return False
    for module in wanted.modules:
        have = modules.get(module.name)
        if not isinstance(have, dict):
            return False
        for key, value in wanted.members(module).items():
            if key == "definitions":
                names = have.get(key)
                if value and not (isinstance(names, list) and all(v in names for v in value)):
                    return False
            elif have.get(key) != value:
                return False
    return True


class _Plain:
    """Expressions of a file as plain data; what is no literal becomes None.

    Constants may hold each other, many times or even themselves: an expression is looked at once
    for each level, of which there are no more than entries have.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._known: dict[tuple[int, int], Any] = {}

    def of(self, node: Node, levels: int = _LEVELS) -> Any:
        """The data of an expression."""
        node = self.source.resolve(node)
        key = (node.id, levels)
        if key not in self._known:
            self._known[key] = self._data(node, levels)
        return self._known[key]

    def _data(self, node: Node, levels: int) -> Any:
        if node.type == "object":
            return dict(self._items(node, levels - 1)) if levels else None
        if node.type == "array":
            return [self.of(m, levels - 1) for m in members(node)] if levels else None
        value = self.source.literal(node)
        return None if value is NOT_LITERAL else value

    def _items(self, node: Node, levels: int) -> Iterator[tuple[str, Any]]:
        for prop in self.source.properties(node):
            if prop.key is not None and prop.value is not None:
                yield prop.key, self.of(prop.value, levels)
