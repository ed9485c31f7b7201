"""An entry of the site's list: written new, or brought up to date in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset.spelling import joined
from fibcore.errors import WebError
from fibcore.web.edits import Edits, Member, last_member
from fibcore.web.entry import Change, WebEntry
from fibcore.web.entry_check import check_edit, counts_of_others
from fibcore.web.models_file import Entry, ModelsFile, read_models
from fibcore.web.modules import Counts
from fibcore.web.same_model import Joined, find_same, join
from fibcore.web.style import style_of
from fibcore.web.typescript import NOT_LITERAL, Property, Source, members, parse

if TYPE_CHECKING:
    from tree_sitter import Node

_SAMPLE = 3
"""Entries whose style a new one takes: the last ones."""


@attrs.frozen
class Edited:
    """A file after editing.

    Attributes:
        data: Its bytes.
        change: What became of the entry.
        counts: How the other entries seem to count modules; None where they do not tell.
    """

    data: bytes
    change: Change
    counts: Counts | None = None


def edited(data: bytes, where: str, wanted: WebEntry, *, prune: bool = False) -> Edited:
    """A models file with the entry of a model added or brought up to date.

    Args:
        data: The file's bytes.
        where: Its path, for messages.
        wanted: The entry.
        prune: Remove definitions, and modules built by code, that the model does not have; they
            stay otherwise. Modules of another hierarchy go in any case: an entry has one.

    Raises:
        WebError: the file cannot be read, or not be edited safely.
    """
    file = read_models(parse(data, where))
    entry = find_same(file, wanted)
    whole = join(file, entry, wanted, prune=prune) if entry else Joined(wanted)
    wanted = whole.wanted
    sample = [entry] if entry else [e for e in file.entries if e.value is not None][-_SAMPLE:]
    nodes = [e.value for e in sample if e.value is not None] or [file.source.root]
    edits = Edits(file.source, style_of(file.source, nodes))
    change = Change()
    if entry is None:
        _add(edits, file, wanted)
        change = Change("added", added=[m.name for m in wanted.modules])
    else:
        change.moved = dict(whole.moved)
        _Update(edits, wanted, prune, change, frozenset(whole.leftover)).entry(entry)
        if edits:
            change.kind = "updated"
    after = edits.apply()
    if edits:
        check_edit(file, after, where, wanted)
    return Edited(after, change, counts_of_others(file, wanted.id))


def _add(edits: Edits, file: ModelsFile, wanted: WebEntry) -> None:
    style = edits.style

    def item(indent: str) -> str:
        if file.record:
            return style.member(wanted.id, wanted.to_dict(), indent)
        return style.value(wanted.to_dict(), indent)

    edits.insert(file.holder, last_member(file.holder), [item])


@attrs.frozen
class _Update:
    """Brings one entry up to date."""

    edits: Edits
    wanted: WebEntry
    prune: bool
    change: Change
    leftover: frozenset[str] = frozenset()

    @property
    def source(self) -> Source:
        return self.edits.source

    def entry(self, entry: Entry) -> None:
        """Edit the entry: words where they are asked for or missing, and the modules."""
        if entry.value is None:
            raise self._unsafe(entry.node, "an object literal")
        self._own(entry.constant, entry.node)
        have = self._members(entry.value)
        data = self.wanted.to_dict()
        for key, replace in (("name", self.wanted.renamed), ("description", self.wanted.described)):
            if replace and key in have:
                self._set(have[key], data[key])
        if "modules" in have:
            self._modules(have["modules"])
        else:
            self.change.added += [m.name for m in self.wanted.modules]
        self._insert(entry.value, have, data, depth=1)

    def _modules(self, prop: Property) -> None:
        holder = self._literal(prop, "object")
        have = self._members(holder)
        data = self.wanted.to_dict()["modules"]
        extra = [name for name in have if name not in data]
        known = [name for name in have if name in data]
        self.change.added += [name for name in data if name not in have]
        going = [name for name in extra if self.prune or name in self.leftover]
        self.change.removed += going
        self.change.kept += [name for name in extra if name not in going]
        if going and not known and going == extra:
            indent = self.source.indentation(prop.node.start_byte).decode()
            self.edits.replace(holder, self.edits.style.value(data, indent, depth=1))
            return
        for name in known:
            self._module(name, have[name], data[name])
        gone = [have[name].node for name in going]
        for node in gone:
            self.edits.remove(holder, node)
        self._insert(holder, have, data, depth=2, module=True, without=gone)

    def _module(self, name: str, prop: Property, data: Mapping[str, Any]) -> None:
        holder = self._literal(prop, "object")
        have = self._members(holder)
        changed = [key for key in data if key not in have]
        both = [key for key in ("count", "parent", "type") if key in data and key in have]
        changed += [key for key in both if self._set(have[key], data[key])]
        if "definitions" in have:
            wanted = data.get("definitions", [])
            if self._definitions(name, have["definitions"], wanted):
                changed.append("definitions")
        self._insert(holder, have, data, depth=3)
        if changed:
            self.change.changed[name] = [key for key in data if key in changed]

    def _definitions(self, name: str, prop: Property, wanted: Sequence[str]) -> bool:
        """Edit a list of definitions; whether it changes."""
        bare = self.source.resolve(prop.value) if prop.value is not None else prop.node
        values = [self.source.literal(n) for n in members(bare)] if bare.type == "array" else []
        once = list({joined(v): v for v in reversed(values) if isinstance(v, str)}.values())[::-1]
        doubled = len(once) < len([v for v in values if isinstance(v, str)])
        missing = [w for w in wanted if w not in values]
        extra = [v for v in values if isinstance(v, str) and v not in wanted]
        if extra and not self.prune:
            self.change.kept_definitions[name] = extra
        if not missing and not doubled and not (self.prune and extra):
            return False
        holder = self._literal(prop, "array")
        if not all(isinstance(v, str) for v in values):
            raise self._unsafe(holder, "a list of string literals")
        if self.prune or doubled:
            indent = self.source.indentation(prop.node.start_byte).decode()
            names = list(wanted) if self.prune else [*once, *missing]
            self.edits.replace(holder, self.edits.style.value(names, indent))
            return True
        style = self.edits.style
        items: list[Member] = [
            lambda _, w=w: style.string(w)  # type: ignore[misc]
            for w in missing
        ]
        self.edits.insert(holder, last_member(holder), items)
        return True

    def _set(self, prop: Property, value: str | int) -> bool:
        """Replace a string or number; whether it is another one."""
        if prop.value is None:
            raise self._unsafe(prop.node, "a literal")
        have = self.source.literal(prop.value)
        if have == value and type(have) is type(value):
            return False
        if have is NOT_LITERAL or self.source.names_constant(prop.value) is not None:
            raise self._unsafe(prop.node, f"the literal {self.edits.style.value(value)}")
        self.edits.replace(self.source.unwrap(prop.value), self.edits.style.value(value))
        return True

    def _insert(
        self,
        holder: Node,
        have: Mapping[str, Property],
        data: Mapping[str, Any],
        *,
        depth: int,
        module: bool = False,
        without: Sequence[Node] = (),
    ) -> None:
        """Insert the members of `data` that are missing, each after the one before it."""
        anchor: Node | None = None
        groups: dict[Node | None, list[Member]] = {}
        one_line = holder.start_point[0] == holder.end_point[0]
        for key, value in data.items():
            if key in have:
                anchor = have[key].node
                continue
            write = partial(self._write, key, value, depth, module, one_line)
            groups.setdefault(anchor, []).append(write)
        first = groups.pop(None, [])
        if first:
            last = last_member(holder, without)
            groups.setdefault(last, [])[:0] = first
        for after, items in groups.items():
            self.edits.insert(holder, after, items)

    def _write(
        self, key: str, value: Any, depth: int, module: bool, one_line: bool, indent: str
    ) -> str:
        style = self.edits.style
        if one_line and depth == 3:
            return style.member(key, value, "")
        if depth == 1 or module:
            return style.member(key, value, indent, depth=depth, module=module)
        return style.member(key, value, indent)

    def _literal(self, prop: Property, kind: str) -> Node:
        """The object or array literal of a property, which only this entry uses."""
        if prop.value is None:
            raise self._unsafe(prop.node, f"an {kind} literal")
        self._own(self.source.names_constant(prop.value), prop.node)
        holder = self.source.resolve(prop.value)
        if holder.type != kind:
            raise self._unsafe(prop.node, f"an {kind} literal")
        return holder

    def _own(self, constant: str | None, node: Node) -> None:
        """Refuse to edit a constant that other parts of the file use too."""
        if constant is not None and self.source.uses(constant) > 2:
            raise self._unsafe(node, f"{constant} to be used here alone")

    def _members(self, holder: Node) -> dict[str, Property]:
        """The members of an object by key, all of which have to be known and there once."""
        found: dict[str, Property] = {}
        for prop in self.source.properties(holder):
            if prop.key is None:
                raise self._unsafe(prop.node, "members with literal keys")
            if prop.key in found:
                raise self._unsafe(prop.node, f"one member {prop.key}")
            found[prop.key] = prop
        return found

    def _unsafe(self, node: Node, expected: str) -> WebError:
        return WebError(
            f"the entry of {self.wanted.id} cannot be edited safely",
            where=self.source.place(node),
            expected=expected,
            found=repr(self.source.text(node)[:60]),
            hint="write that part out, or edit the entry by hand; nothing was changed",
        )
