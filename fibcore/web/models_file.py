"""`models.ts`: where it is, the list in it, and the entries of that list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.errors import WebError
from fibcore.web.typescript import NOT_LITERAL, Source, declarators, members

if TYPE_CHECKING:
    from tree_sitter import Node

PLACES = ("apps/web/data/models.ts", "web/apps/web/data/models.ts", "data/models.ts", "models.ts")
"""Where the file may be below the folder that is named."""

NAME = "models"


def find_models_file(web_dir: Path) -> Path:
    """The site's `models.ts`.

    Args:
        web_dir: The site's repository, the folder `apps/web` or `data` in it, a repository that
            holds the site one folder further down, or the file itself.

    Raises:
        WebError: it is not there, or there are several.
    """
    if web_dir.is_file():
        return web_dir
    if not web_dir.is_dir():
        raise WebError(
            "no such folder",
            where="--web-dir",
            expected="the site's repository, which holds apps/web/data/models.ts",
            found=str(web_dir),
        )
    for place in PLACES:
        if (web_dir / place).is_file():
            return web_dir / place
    found = sorted(web_dir.glob("*/apps/web/data/models.ts"))
    if len(found) == 1:
        return found[0]
    raise WebError(
        "several models.ts below this folder" if found else "no models.ts below this folder",
        where="--web-dir",
        expected=f"one of {', '.join(PLACES)}" if not found else "one",
        found=", ".join(str(p) for p in found) or str(web_dir),
        hint="name the site's repository, or the file itself",
    )


@attrs.frozen(eq=False)
class Entry:
    """One model of the list.

    Attributes:
        id: Its id; None where only running the code could tell.
        node: The whole element of the list.
        value: Its object literal; None where it is built by code.
        whole: Whether `value` has no member that only running the code could tell.
        constant: The constant that the object is the value of; None where it is in the list.
    """

    id: str | None
    node: Node
    value: Node | None
    whole: bool
    constant: str | None = None


@attrs.frozen(eq=False)
class ModelsFile:
    """The list of models in a file.

    Attributes:
        source: The file.
        holder: The array, or the object with ids as keys.
        entries: Its entries, in order.
    """

    source: Source
    holder: Node
    entries: tuple[Entry, ...]

    @property
    def record(self) -> bool:
        """Whether the list is an object with ids as keys."""
        return self.holder.type == "object"

    def entry(self, model: str) -> Entry | None:
        """The entry of a model; None where the list has none.

        Raises:
            WebError: there are two, or one that is built by code seems to be it.
        """
        found = [entry for entry in self.entries if entry.id == model]
        if len(found) > 1:
            raise WebError(
                f"two entries have the id {model!r}",
                where=self.source.place(found[1].node),
                hint="remove one of them",
            )
        if found:
            return found[0]
        for entry in self.entries:
            if entry.id is None and self._mentions(entry.node, model):
                raise WebError(
                    "an entry that cannot be edited safely seems to be this model",
                    where=self.source.place(entry.node),
                    expected="an object literal with a literal id",
                    found=repr(self.source.text(entry.node)[:60]),
                    hint="write the entry out, or edit it by hand",
                )
        return None

    def _mentions(self, node: Node, model: str) -> bool:
        text = self.source.text(node)
        if any(f"{quote}{model}{quote}" in text for quote in "\"'`"):
            return True
        key = _letters(model)
        return any(_letters(word) == key for word in re.findall(r"[\w$]+", text))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_models(source: Source) -> ModelsFile:
    """The list of models in a file.

    It is the value of the top-level variable `models`; where there is none of that name, of the
    only variable (or default export) that is a list of objects with `modules`.

    Raises:
        WebError: there is no such list, or it is built by code.
    """
    candidates = list(_candidates(source))
    named = [(n, v) for n, v in candidates if n.lower() == NAME]
    exact = [(n, v) for n, v in named if n == NAME] or named
    if not exact:
        exact = [(n, v) for n, v in candidates if _has_models(source, v)]
    if len(exact) != 1:
        names = ", ".join(name for name, _ in candidates)
        raise WebError(
            "no list of models" if not exact else "several lists of models",
            where=source.where,
            expected=f"export const {NAME}: Model[] = [...]",
            found=", ".join(n for n, _ in exact) or names or "no variable at the top level",
        )
    name, value = exact[0]
    holder = source.resolve(value)
    if holder.type not in ("array", "object"):
        raise WebError(
            f"{name} is built by code, which cannot be edited safely",
            where=source.place(holder),
            expected="an array or object literal",
            found=repr(source.text(holder)[:60]),
        )
    return ModelsFile(source, holder, tuple(_entries(source, holder)))


def _candidates(source: Source) -> Iterator[tuple[str, Node]]:
    for declarator, _ in declarators(source.root):
        name = declarator.child_by_field_name("name")
        value = declarator.child_by_field_name("value")
        if name is not None and value is not None and name.type == "identifier":
            yield source.text(name), value
    for statement in source.root.named_children:
        value = statement.child_by_field_name("value")
        exported = statement.type == "export_statement" and value is not None
        if exported and value is not None and source.names_constant(value) is None:
            yield "default", value


def _has_models(source: Source, value: Node) -> bool:
    holder = source.unwrap(value)
    if holder.type not in ("array", "object"):
        return False
    return any(
        entry.value is not None and any(p.key == "modules" for p in source.properties(entry.value))
        for entry in _entries(source, holder)
    )


def _entries(source: Source, holder: Node) -> Iterator[Entry]:
    if holder.type == "array":
        for element in members(holder):
            yield _entry(source, element, element, None)
        return
    for member in source.properties(holder):
        if member.value is None:
            yield Entry(None, member.node, None, whole=False)
        else:
            yield _entry(source, member.node, member.value, member.key)


def _entry(source: Source, node: Node, value: Node, key: str | None) -> Entry:
    """An entry; the id is that in the object, else the key under which a record has it."""
    constant = source.names_constant(value)
    resolved = source.resolve(value)
    if resolved.type != "object":
        return Entry(key, node, None, whole=False, constant=constant)
    properties = source.properties(resolved)
    whole = all(p.key is not None for p in properties)
    ids = [p.value for p in properties if p.key == "id" and p.value is not None]
    given = source.literal(ids[-1]) if ids else NOT_LITERAL
    # A spread may bring another id.
    known = given if isinstance(given, str) and whole else key if not ids else None
    return Entry(known, node, resolved, whole, constant)
