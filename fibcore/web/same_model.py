"""Which entry of a file is a model's, and what the model's hierarchy takes over from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from fibcore.configs.catalogue import find_entry
from fibcore.dataset.spelling import joined
from fibcore.errors import WebError
from fibcore.web.entry import WebEntry
from fibcore.web.entry_check import plain
from fibcore.web.models_file import Entry, ModelsFile
from fibcore.web.modules import WebModule

_HUB = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/")
_FAMILY = re.compile(r"_[a-z]*\d.*")


def find_same(file: ModelsFile, wanted: WebEntry) -> Entry | None:
    """The entry of a model: that of its id, else the one that is the same model by another name.

    Names are the same where only case and separators differ, where the catalogue knows both as one
    model, and where a member of the entry is the model's Hub id or its address on the Hub.

    Raises:
        WebError: two entries are this model.
    """
    found = file.entry(wanted.id)
    if found is not None:
        return found
    same = [entry for entry in file.entries if _is(file, entry, wanted)]
    if len(same) > 1:
        ids = ", ".join(str(entry.id) for entry in same)
        raise WebError(
            f"two entries are the model {wanted.id}",
            where=file.source.place(same[1].node),
            found=ids,
            hint="remove one of them",
        )
    return same[0] if same else None


def _is(file: ModelsFile, entry: Entry, wanted: WebEntry) -> bool:
    if entry.id is None or entry.value is None:
        return False
    known = find_entry(entry.id)
    if known is not None and known is find_entry(wanted.id):
        return True
    names = [
        wanted.id,
        *([wanted.hub_id, wanted.hub_id.rpartition("/")[2]] if wanted.hub_id else []),
    ]
    if _letters(entry.id) in map(_letters, names):
        return True
    if not wanted.hub_id:
        return False
    members = plain(file.source, entry)
    return any(
        _HUB.sub("", value).rstrip("/").lower() == wanted.hub_id.lower()
        for value in members.values()
        if isinstance(value, str)
    )


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@attrs.frozen
class Joined:
    """A model's entry as it is to be in place of the one that is there.

    Attributes:
        wanted: The entry, with the id and the spelling of names that the file has.
        leftover: Modules of the file that are of another hierarchy and go.
        moved: Definition of a leftover module that the model does not have to the module of the
            model's hierarchy that lists it from now on.
    """

    wanted: WebEntry
    leftover: tuple[str, ...] = ()
    moved: Mapping[str, str] = attrs.field(factory=dict)


def join(file: ModelsFile, entry: Entry, wanted: WebEntry, *, prune: bool) -> Joined:
    """Make one hierarchy of a model's and of that of its entry: the model's.

    A module of the file is part of a hierarchy where its count is a number; one that is built by
    code stays. Definitions of modules that go and that the model does not run at these sizes move
    to the module that shares a definition with theirs, else to that which runs kernels of the same
    kind, else to the model itself; with `prune` they go.
    """
    have = plain(file.source, entry).get("modules")
    have = have if isinstance(have, dict) else {}
    wanted = _spelled(attrs.evolve(wanted, id=entry.id or wanted.id), have)
    names = {module.name for module in wanted.modules}
    leftover = tuple(
        name
        for name, module in have.items()
        if name not in names and isinstance(module, dict) and isinstance(module.get("count"), int)
    )
    if prune or not wanted.modules:
        return Joined(wanted, leftover)
    listed = {joined(d) for name in names for d in _definitions(have.get(name))}
    listed |= {joined(d) for module in wanted.modules for d in module.definitions}
    moved: dict[str, str] = {}
    for name in leftover:
        own = _definitions(have[name])
        for definition in own:
            if joined(definition) not in listed:
                listed.add(joined(definition))
                moved[definition] = _home(definition, own, wanted.modules)
    modules = tuple(
        attrs.evolve(
            m, definitions=(*m.definitions, *(d for d, to in moved.items() if to == m.name))
        )
        for m in wanted.modules
    )
    return Joined(attrs.evolve(wanted, modules=modules), leftover, moved)


def _home(definition: str, beside: Iterable[str], modules: Sequence[WebModule]) -> str:
    others = {joined(d) for d in beside}
    for module in modules:
        if others & {joined(d) for d in module.definitions}:
            return module.name
    family = _FAMILY.sub("", joined(definition))
    for module in modules:
        if family in {_FAMILY.sub("", joined(d)) for d in module.definitions}:
            return module.name
    return modules[0].name


def _definitions(module: Any) -> list[str]:
    names = module.get("definitions") if isinstance(module, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _spelled(wanted: WebEntry, have: Mapping[str, Any]) -> WebEntry:
    """The entry with names of definitions as the file's entry spells them."""
    spellings: dict[str, str] = {}
    for module in have.values():
        for name in _definitions(module):
            spellings.setdefault(joined(name), name)
    modules = tuple(
        attrs.evolve(m, definitions=tuple(spellings.get(joined(d), d) for d in m.definitions))
        for m in wanted.modules
    )
    return attrs.evolve(wanted, modules=modules)
