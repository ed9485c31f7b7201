"""Containers that other modules fill when they are imported.

`@register("name")` above a function of another module writes into a dict of this one. Which modules
a server has imported by the time that the dict is read is not known here: statements are run when
one of their names is wanted, not module by module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from fibcore.elaborate.python.effects import is_changed_in
from fibcore.elaborate.python.index import SourceModule

_REGISTERING = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+(\w*regist\w*)[ \t]*\(", re.MULTILINE)
_AREA = 3
"""Parts of a module's name that say in which area of a source it is: `sglang.srt.layers`."""


def is_registry(module: SourceModule, name: str) -> bool:
    """Whether other modules may register something in a container of a module.

    By the text: a function or method whose name has `regist` in it assigns to an item of what has
    the container's name, as a variable or as an attribute, or calls a method that changes it; and a
    file of the same area of the source has the name of one that the module defines.

    Args:
        module: The module.
        name: What the container is bound to, in the module or in the body of a class.
    """
    known = module.registries.get(name)
    if known is None:
        known = module.registries[name] = _is_registry(module, name)
    return known


def _is_registry(module: SourceModule, name: str) -> bool:
    if "regist" not in module.text or name not in module.text:
        return False
    found = dict(_registering(module))
    if not any(is_changed_in(text, name) for text in found.values()):
        return False
    words = re.compile("|".join(rf"\b{word}\b" for word in found).encode())
    return any(words.search(text) for text in _others(module))


def _registering(module: SourceModule) -> Iterator[tuple[str, str]]:
    """Names and texts of the functions that register something, inner ones with those around."""
    for match in _REGISTERING.finditer(module.text):
        # To the next line that is indented no deeper, but for those of a signature.
        end = re.compile(rf"^[ \t]{{0,{len(match[1])}}}[^\s)#]", re.MULTILINE)
        stop = end.search(module.text, match.end())
        yield match[2], module.text[match.end() : stop.start() if stop else len(module.text)]


def _others(module: SourceModule) -> Iterator[bytes]:
    """The other files of the area that a module is in."""
    area = module.path.parent
    depth = module.name.count(".") + module.is_package
    for _ in range(depth - _AREA):
        area = area.parent
    for folder, _, files in os.walk(area):
        for file in files:
            path = Path(folder, file)
            if path.suffix == ".py" and path != module.path and path.is_file():
                yield path.read_bytes()
