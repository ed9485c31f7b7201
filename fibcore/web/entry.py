"""A model as the site's list is to have it, and what becomes of its entry there."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from fibcore.web.modules import WebModule


@attrs.frozen
class WebEntry:
    """A model as the site's list is to have it.

    Attributes:
        id: Its id, the model slug.
        name: Its name for people. Only written where the entry has none, unless `renamed`.
        description: A sentence, likewise, unless `described`.
        modules: Its modules.
        renamed: Whether `name` takes the place of the one that is there.
        described: Whether `description` does.
        hub_id: The model's Hub id, by which an entry of another id is known to be this model.
    """

    id: str
    name: str
    description: str
    modules: tuple[WebModule, ...]
    renamed: bool = False
    described: bool = False
    hub_id: str | None = None

    def members(self, module: WebModule) -> dict[str, Any]:
        """A module as it is written."""
        data: dict[str, Any] = {"count": module.count}
        if module.parent is not None:
            data["parent"] = module.parent
        data["type"] = module.type
        if module.definitions:
            data["definitions"] = list(module.definitions)
        return data

    def to_dict(self) -> dict[str, Any]:
        """The whole entry as it is written where there is none."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "modules": {m.name: self.members(m) for m in self.modules},
        }


@attrs.define
class Change:
    """What editing does to an entry.

    Attributes:
        kind: "added", "updated" or "unchanged".
        added: Modules that come in.
        changed: Module to the keys in which it changes.
        removed: Modules that go, since they are of another hierarchy.
        moved: Definition of a module that goes, which the model does not have, to the module that
            lists it from now on.
        kept: Modules of the file that the model does not have, and that stay: built by code.
        kept_definitions: Module to definitions of the file that the model does not have, likewise.
    """

    kind: Literal["added", "updated", "unchanged"] = "unchanged"
    added: list[str] = attrs.field(factory=list)
    changed: dict[str, list[str]] = attrs.field(factory=dict)
    removed: list[str] = attrs.field(factory=list)
    moved: dict[str, str] = attrs.field(factory=dict)
    kept: list[str] = attrs.field(factory=list)
    kept_definitions: dict[str, list[str]] = attrs.field(factory=dict)
