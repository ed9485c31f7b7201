"""Containers that other modules fill when they are imported.

`@register("name")` above a function of another module writes into a dict of this one. Which modules
a server has imported by the time that the dict is read is not known here: statements are run when
one of their names is wanted, not module by module.
"""

from __future__ import annotations

import re

from fibcore.elaborate.python.effects import is_changed_in
from fibcore.elaborate.python.index import SourceModule

_REGISTERING = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+\w*regist\w*[ \t]*\(", re.MULTILINE)


def is_registry(module: SourceModule, name: str) -> bool:
    """Whether a function or method of a module that registers something changes a container of it.

    By the text: one whose name has `regist` in it assigns to an item of what has this name, as a
    variable or as an attribute, or calls a method that changes it.

    Args:
        module: The module.
        name: What the container is bound to, in the module or in the body of a class.
    """
    known = module.registries.get(name)
    if known is None:
        texts = _bodies(module) if name in module.text else ()
        known = module.registries[name] = any(is_changed_in(text, name) for text in texts)
    return known


def _bodies(module: SourceModule) -> list[str]:
    """The texts of the functions that register something, inner ones with those around them."""
    if "regist" not in module.text:
        return []
    found = []
    for match in _REGISTERING.finditer(module.text):
        # To the next line that is indented no deeper, but for those of a signature.
        end = re.compile(rf"^[ \t]{{0,{len(match[1])}}}[^\s)#]", re.MULTILINE)
        stop = end.search(module.text, match.end())
        found.append(module.text[match.end() : stop.start() if stop else len(module.text)])
    return found
