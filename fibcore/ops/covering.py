"""The plugins of this project that cover a class or function, also where they are not installed.

`covering.json` is data that `tools/covering_table.py` makes of real models; no op is named here.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from pathlib import Path

from fibcore.model.json import decode

FILE = Path(__file__).with_name("covering.json")
"""Name of a class or function to the distributions of plugins that have kernels for it."""


def covering(names: Iterable[str], active: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The distributions that cover what none of the active ones does, by name.

    Args:
        names: Names of classes and functions that no plugin in use accounts for.
        active: The distributions of plugins in use; what these cover at other places, and not
            here, nobody else's would.
    """
    table = _table()
    found = {name: tuple(one for one in table.get(name, ()) if one not in active) for name in names}
    return {name: several for name, several in found.items() if several}


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = decode(FILE.read_text("utf-8"))
    return table
