"""SGLang's own config classes: which one stands for a model type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from fibcore.elaborate.python.values import Class

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import SourceModule

# A class head, a model type in a class body, or the head of a function, whose names are no class's.
_PARTS = re.compile(
    r"^[ \t]*class\s+(?P<cls>\w+)"
    r"|^[ \t]+model_type(?:\s*:[^=\n]+)?\s*=\s*[\"'](?P<kind>[\w.-]+)[\"']"
    r"|^def\s",
    re.MULTILINE,
)
_REGISTRIES = ("srt/utils/hf_transformers/common", "srt/utils/hf_transformers_utils")
_FOLDER = "srt/configs"


@attrs.frozen
class OwnClass:
    """A config class of SGLang.

    Attributes:
        module: The module that defines it.
        name: Its name.
        registered: Whether SGLang's loader takes it for its model type, before transformers' own.
        forced: Whether it also replaces the one of transformers inside of other configs.
    """

    module: str
    name: str
    registered: bool
    forced: bool


class OwnClasses:
    """The config classes of a SGLang tree by model type.

    Files that do not name a model type stay unread.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.ev = evaluator
        self._known: dict[str, OwnClass | None] = {}
        package = evaluator.index.package
        names = [".".join([package, *path.split("/")]) for path in _REGISTRIES]
        self._registry = next(
            (m for n in names if (m := evaluator.index.module(n)) is not None), None
        )

    def find(self, model_type: str) -> OwnClass | None:
        """The class of a model type; None where SGLang defines none."""
        if model_type not in self._known:
            self._known[model_type] = self._search(model_type)
        return self._known[model_type]

    def load(self, own: OwnClass) -> Class | None:
        """The class itself."""
        space = self.ev.modules.space(own.module)
        found = None if space is None else self.ev.modules.name_in(space, own.name)
        return found if isinstance(found, Class) else None

    def _search(self, model_type: str) -> OwnClass | None:
        if self._registry is not None:
            for name in _classes_of(self._registry, model_type):
                return OwnClass(self._registry.name, name, True, False)
        root = self.ev.index.root
        package = self.ev.index.package
        found: list[OwnClass] = []
        for path in sorted((root / _FOLDER).glob("*.py")):
            module = self.ev.index.module(".".join([package, *_FOLDER.split("/"), path.stem]))
            for name in () if module is None else _classes_of(module, model_type):
                assert module is not None
                forced = bool(
                    re.search(rf"_extra_content\[[^\]]+\] = {name}\b", module.text)
                    or ("exist_ok=True" in module.text and "register(" in module.text)
                )
                registered = forced or self._registers(name)
                found.append(OwnClass(module.name, name, registered, forced))
        # A part of a model may have the model's own type; the registered class is the model's.
        return next((own for own in found if own.registered), found[0] if found else None)

    def _registers(self, name: str) -> bool:
        # Once to import it, once in the registry.
        text = "" if self._registry is None else self._registry.text
        return len(re.findall(rf"\b{name}\b", text)) > 1


def _classes_of(module: SourceModule, model_type: str) -> Iterator[str]:
    """The classes in whose body a module says `model_type = "..."`."""
    text = module.text
    if f'"{model_type}"' not in text and f"'{model_type}'" not in text:
        return
    name = ""
    for match in _PARTS.finditer(text):
        if match.group("kind") is None:
            name = match.group("cls") or ""
        elif match.group("kind") == model_type and name:
            yield name
