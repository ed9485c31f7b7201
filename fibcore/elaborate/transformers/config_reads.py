"""What was read of the configs of one elaboration, and which keys of the file nothing read."""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any

import attrs

from fibcore.elaborate.transformers.config_object import TEXT_CONFIGS
from fibcore.elaborate.transformers.summaries.summary import ClassSummary, Expression
from fibcore.model.tree import origins_of
from fibcore.syntax import walk

_SUBJECTS = {
    **dict.fromkeys(("expert", "experts", "moe"), "experts"),
    **dict.fromkeys(("window", "windows", "sliding"), "windows"),
    **dict.fromkeys(("sparse", "sparsity"), "sparsity"),
    **dict.fromkeys(("head", "heads", "kv"), "heads"),
}
"""Words of keys that say how many weights there are or what is attended to, and what they name."""

_WIDTH = 40
_NAME = re.compile(r"[^\W\d]\w*")


@attrs.frozen
class Key:
    """A key of a config file: its dotted path, name, value, origin, and what it is about."""

    place: str
    name: str
    value: Any = attrs.field(eq=False)
    origin: str
    subjects: frozenset[str]


class ConfigReads:
    """The attributes of config objects that were read.

    A value that remembers where it is from tells the key, however it came under the attribute that
    was read; what cannot remember it (truth values, null) is known by the attribute's name.
    """

    def __init__(self) -> None:
        self._names: dict[str, Any] = {}
        self._origins: set[str] = set()
        self._weighed: set[str] = set()

    def note(self, name: str, value: Any) -> None:
        """Note that an attribute was read, and its value."""
        kind = type(value)
        if kind is list or kind is dict:
            if name not in self._names:
                self._origins.update(_origins(value))
        else:
            self._origins.update(origins_of(value))
        self._names[name] = value

    def weigh(self, names: Iterable[str]) -> None:
        """Note that a config class decides by these keys, whatever then becomes of them."""
        self._weighed.update(names)

    def knows(self, key: Key) -> bool:
        """Whether a key of a file was read."""
        if key.origin in self._origins or key.name in self._weighed:
            return True
        # Of an object, a part.
        if isinstance(key.value, dict):
            return any(origin.startswith(f"{key.origin}.") for origin in self._origins)
        if not _remembers(key.value) and key.name in self._names:
            return True
        # Said twice, as by sliding_window and sliding_window_size.
        words = _words(key.name)
        return any(
            held == key.value and (_words(name) <= words or words <= _words(name))
            for name, held in self._names.items()
        )


def _origins(value: Any) -> set[str]:
    """The origins of all that a value of a config holds."""
    found: set[str] = set()
    pending = [value]
    for part in pending:
        if isinstance(part, dict):
            pending += part.values()
        elif isinstance(part, (list, tuple)):
            pending += part
        else:
            found |= origins_of(part)
    return found


def _remembers(value: Any) -> bool:
    """Whether a value of a file can hold its origin, in itself or in a part."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return any(map(_remembers, value))
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def weighed_by(summary: ClassSummary) -> set[str]:
    """The keys by which a class of transformers decides, besides keeping them."""
    texts = [text for step in summary.steps for text in (step.expression, step.condition or "")]
    texts += [field.text for field in summary.fields.values() if isinstance(field, Expression)]
    texts += summary.properties.values()
    return {name for text in texts for name in _NAME.findall(text)}


@functools.lru_cache(maxsize=256)
def weighed_in(constructor: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """The parameters by which a constructor decides, besides keeping them and passing them on."""
    kept: set[int] = set()
    for node in walk(constructor):
        if isinstance(node, ast.Assign):
            attributes = [t.attr for t in node.targets if isinstance(t, ast.Attribute)]
            if isinstance(node.value, ast.Name) and node.value.id in attributes:
                kept.add(id(node.value))
        elif isinstance(node, ast.keyword):
            passed = node.value
            if isinstance(passed, ast.Name) and passed.id == node.arg:
                kept.add(id(passed))
    names = (n for n in walk(constructor) if isinstance(n, ast.Name) and id(n) not in kept)
    return frozenset(name.id for name in names)


def unread_keys(
    data: Mapping[str, Any],
    reads: ConfigReads,
    origins: Mapping[str, str],
    taken: Callable[[], Set[str]],
) -> list[str]:
    """A warning about keys that name experts, windows, sparsity or heads, and that nothing read.

    A value of 1 or less counts as the absence of the thing, and so does `use_...: false`.

    Args:
        data: The file's content: the keys of the model and of the language model in it count.
        reads: What was read.
        origins: Where keys came from that the file has under other names, by dotted path.
        taken: Gives the origins of what the modules below the model were given and have.
    """
    keys = list(_keys(data, "", origins))
    unread = [key for key in keys if not reads.knows(key)]
    if not unread:
        return []
    text = f"nothing in the source reads {_listed(unread)} of the config"
    # A model may keep a number that it does nothing with.
    about = {subject for key in unread for subject in key.subjects}
    others = [key for key in keys if key not in unread and key.subjects & about]
    had = taken() if others else frozenset()
    if others and not any(key.origin in had for key in others):
        text += f", and no module takes {_listed(others)}"
    return [text]


def _keys(data: Mapping[str, Any], path: str, origins: Mapping[str, str]) -> Iterator[Key]:
    off = {s for k, v in data.items() if k.startswith("use_") and v is False for s in _subjects(k)}
    for name, value in data.items():
        subjects = _subjects(name)
        if subjects and not subjects & off and not _is_nothing(value):
            place = f"{path}{name}"
            origin = origins.get(place, f"config:{place}")
            yield Key(place, name, value, origin, frozenset(subjects))
    for name in TEXT_CONFIGS:
        inner = data.get(name)
        if isinstance(inner, Mapping):
            yield from _keys(inner, f"{path}{name}.", origins)


def _listed(keys: Iterable[Key]) -> str:
    return ", ".join(f"{key.place} = {_shown(key.value)}" for key in keys)


def _words(key: str) -> set[str]:
    return set(key.lower().split("_"))


def _subjects(key: str) -> set[str]:
    return {_SUBJECTS[word] for word in _words(key) & _SUBJECTS.keys()}


def _is_nothing(value: Any) -> bool:
    if isinstance(value, bool):
        return not value
    return not value or (isinstance(value, int | float) and value <= 1)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."
