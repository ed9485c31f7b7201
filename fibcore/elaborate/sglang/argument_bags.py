"""Bags of server arguments: classes of fields, each with the path of the namespace that it fills.

Newer releases cut `ServerArgs` into them (`srt/arg_groups/fields`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fibcore.elaborate.python.values import Class

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_FOLDER = ("srt", "arg_groups", "fields")
_NS_PATH = re.compile(
    r"^class (\w+)[^\n]*:.*?^    _NS_PATH = \"([\w.]+)\"", re.MULTILINE | re.DOTALL
)


def argument_bags(ev: Evaluator) -> dict[str, list[Class]]:
    """The classes of server-argument fields, by namespace path; empty for older releases."""
    found: dict[str, list[Class]] = {}
    for path in sorted(ev.index.root.joinpath(*_FOLDER).glob("*.py")):
        space = ev.modules.space(".".join((ev.index.package, *_FOLDER, path.stem)))
        if space is None:
            continue
        for name, bag in _NS_PATH.findall(space.source.text):
            cls = ev.modules.name_in(space, name)
            if isinstance(cls, Class):
                found.setdefault(bag, []).append(cls)
    return found
