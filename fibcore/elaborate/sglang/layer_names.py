"""Lists of layer names in a quantisation config, which name hundreds of layers one by one.

What such a list says of layer 7 lies in the names that have a 7 between their dots, and in those
without any number. Two layers of which it says the same, but for their numbers, are quantised
alike, and the source's own search through the list can be asked with those names alone.
"""

from __future__ import annotations

import re
from typing import Any

from fibcore.elaborate.python.values import Obj

_PLAIN = re.compile(r"[\w-]+(\.[\w-]+)*")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


class LayerNames:
    """The names of layers that a quantisation config holds.

    Args:
        config: The config object.

    Attributes:
        simple: Whether every list holds plain names that neither begin nor end with a number: then
            no name of one layer can match, or be a part of, a name of another.
    """

    def __init__(self, config: Obj) -> None:
        self._config = config
        self._lists = {
            key: value
            for key, value in config.attrs.items()
            if isinstance(value, list) and value and all(isinstance(v, str) for v in value)
        }
        names = [str(name) for held in self._lists.values() for name in held]
        others = [v for k, v in config.attrs.items() if k not in self._lists]
        self.simple = all(map(_is_plain, names)) and not any(map(_has_numbers, others))
        self._by_number: dict[str, list[str]] = {}
        for name in names:
            for number in dict.fromkeys(_NUMBER.findall(name)):
                self._by_number.setdefault(number, []).append(name)

    def about(self, index: int) -> frozenset[str]:
        """The names of a layer with `#` for its number: equal for layers that are listed alike."""
        number = str(index)
        return frozenset(
            _NUMBER.sub(lambda m: "#" if m.group() == number else m.group(), name)
            for name in self._by_number.get(number, ())
        )

    def only(self, index: int) -> Obj:
        """The config with the names that can concern a layer, and no others."""
        kept = set(self._by_number.get(str(index), ()))
        config = Obj(self._config.cls, self._config.place)
        config.args = self._config.args
        config.attrs = {
            key: [n for n in value if n in kept or not _NUMBER.search(n)]
            if key in self._lists
            else value
            for key, value in self._config.attrs.items()
        }
        return config


def _is_plain(name: str) -> bool:
    parts = name.split(".")
    return _PLAIN.fullmatch(name) is not None and not parts[0].isdigit() and not parts[-1].isdigit()


def _has_numbers(value: Any) -> bool:
    """Whether a value that is no plain list may say something of numbered layers."""
    if isinstance(value, str):
        return _NUMBER.search(value) is not None
    if isinstance(value, dict):
        return any(_has_numbers(k) or _has_numbers(v) for k, v in value.items())
    if isinstance(value, (list, tuple, set)):
        return any(map(_has_numbers, value))
    return False
