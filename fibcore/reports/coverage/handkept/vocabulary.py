"""The names of models, definitions and op types that a hand-kept page may use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

Words = tuple[str, ...]

_NAME = re.compile(r"(?<![\w.])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9*]+|_?\{[^{}\s]*\})+(?:\.\.\.|…)?")


def words_of(text: str) -> Words:
    """Letters and digits of a text as words: `Llama-3.1 8B` is llama, 3, 1, 8, b."""
    return tuple(re.findall(r"[a-z]+|[0-9]+", text.lower()))


class Vocabulary:
    """The names that a page may use: of models, definitions and op types.

    Args:
        models: Names of each model by slug: slug, Hub id, aliases.
        definitions: Names of definitions that are known.
        op_types: Op types that are known.
    """

    def __init__(
        self,
        models: Mapping[str, Iterable[str]],
        definitions: Iterable[str],
        op_types: Iterable[str],
    ) -> None:
        self._models: dict[Words, str] = {}
        for slug, names in models.items():
            for name in (slug, *names):
                self._models.setdefault(words_of(name.rpartition("/")[2]), slug)
        self._longest = max(map(len, self._models), default=0)
        self._heads = {name.split("_")[0].lower() for name in (*definitions, *op_types)}
        self._op_types = {words_of(op_type): op_type for op_type in op_types}

    def models(self, text: str) -> tuple[str, ...]:
        """The models that a text names, each longest name counting once."""
        words = words_of(self.bare(text))
        found: dict[str, None] = {}
        at = 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                slug = self._models.get(words[at : at + length])
                if slug is not None:
                    found[slug] = None
                    at += length - 1
                    break
            at += 1
        return tuple(found)

    def definitions(self, text: str) -> tuple[str, ...]:
        """The definitions that a text names; braces are expanded."""
        found: dict[str, None] = {}
        for match in _NAME.finditer(text):
            if self._is_definition(match.group()):
                found.update(dict.fromkeys(_expanded(_starred(match.group()))))
        return tuple(found)

    def bare(self, text: str) -> str:
        """A text without the definitions in it, whose numbers are sizes of nothing else."""
        return _NAME.sub(lambda m: " " if self._is_definition(m.group()) else m.group(), text)

    def _is_definition(self, name: str) -> bool:
        has_size = any(c.isdigit() or c == "*" for c in _starred(name))
        return has_size and re.split("[_{]", name)[0].lower() in self._heads

    def op_type(self, text: str) -> str | None:
        """The op type that a table's header names."""
        words = words_of(text)
        exact = self._op_types.get(words)
        if exact is not None or not words:
            return exact
        begin = {o for known, o in self._op_types.items() if known[: len(words)] == words}
        return begin.pop() if len(begin) == 1 else None


def _starred(name: str) -> str:
    return re.sub(r"\.\.\.|…", "*", name)


def _expanded(name: str) -> Iterator[str]:
    """`ps{1,64}` as `ps1` and `ps64`."""
    match = re.search(r"\{([^{}]*)\}", name)
    if match is None:
        yield name
        return
    options = re.split(r"[,|]", match.group(1))
    for option in options if len(options) > 1 else ["*"]:
        yield from _expanded(name[: match.start()] + option.strip() + name[match.end() :])
