"""Paths of layers that differ in a number alone, written as one: `model.layers.{0-31}.mlp`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fibcore.model.kernel import Use
from fibcore.model.tree import SourcePlace

MAX_PATHS = 100_000
"""The most paths that a pattern may stand for: modules of one kind in any model are far fewer."""

_MAX_SPAN = 40
_PATTERN = re.compile(r"([^{}]*)\{([0-9,-]+)\}([^{}]*)")


def group_uses(uses: Iterable[Use]) -> list[tuple[str, str, SourcePlace]]:
    """Uses that differ in a layer number alone as one: (paths, class, place).

    `model.layers.0.norm` to `model.layers.31.norm` become `model.layers.{0-31}.norm`.
    """
    groups: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}
    for use in uses:
        template, numbers = _split(use.path)
        vectors = groups.setdefault((template, use.cls, use.place), [])
        if numbers not in vectors[-1:]:
            vectors.append(numbers)
    result = []
    for (template, cls, place), vectors in groups.items():
        result += [(paths, cls, place) for paths in _patterns(template, vectors)]
    return result


def _split(path: str) -> tuple[tuple[str | None, ...], tuple[int, ...]]:
    """A path's parts with None for numbers, and the numbers."""
    parts = path.split(".")
    is_number = [part.isdecimal() and part.isascii() and str(int(part)) == part for part in parts]
    template = tuple(
        None if number else part for part, number in zip(parts, is_number, strict=True)
    )
    numbers = tuple(int(part) for part, number in zip(parts, is_number, strict=True) if number)
    return template, numbers


def _patterns(template: tuple[str | None, ...], vectors: list[tuple[int, ...]]) -> list[str]:
    vectors = list(dict.fromkeys(vectors))
    width = len(vectors[0])
    if width == 0:
        return [".".join(part for part in template if part is not None)]

    def without(position: int) -> dict[tuple[int, ...], list[int]]:
        rest: dict[tuple[int, ...], list[int]] = {}
        for vector in vectors:
            key = (*vector[:position], *vector[position + 1 :])
            rest.setdefault(key, []).append(vector[position])
        return rest

    # The position whose numbers, taken together, leave the fewest patterns.
    position = min(range(width), key=lambda p: len(without(p)))
    patterns = []
    for rest, numbers in without(position).items():
        words = [str(n) for n in rest]
        words.insert(position, _braced(numbers))
        left = iter(words)
        patterns.append(".".join(next(left) if part is None else part for part in template))
    return patterns


def _braced(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{{{ranges(numbers)}}}"


def ranges(numbers: Iterable[int]) -> str:
    """Numbers in order, neighbours as a span: `0-2,5`."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def numbers_in(spans: str) -> list[int]:
    """The numbers that `ranges` wrote, `0-2,5`.

    Raises:
        ValueError: it is not what `ranges` writes.
    """
    numbers: list[int] = []
    for span in _spans(spans):
        if len(numbers) + span.stop - span.start > MAX_PATHS:
            raise ValueError(f"more than {MAX_PATHS} layers")
        numbers += span
    return numbers


def _spans(spans: str) -> Iterator[range]:
    for span in spans.split(","):
        first, _, last = span.partition("-")
        if len(span) > _MAX_SPAN:
            raise ValueError(f"no numbers of layers: {span[:_MAX_SPAN]}...")
        yield range(int(first), int(last or first) + 1)


def count_paths(paths: str) -> int:
    """How many paths `expand_paths` gives.

    Raises:
        ValueError: it is no pattern of `group_uses`.
    """
    match = _PATTERN.fullmatch(paths)
    if match is None:
        return 1
    return sum(max(span.stop - span.start, 0) for span in _spans(match.group(2)))


def expand_paths(paths: str) -> list[str]:
    """The single paths that a pattern of `group_uses` stands for.

    Raises:
        ValueError: it is no such pattern, or stands for more paths than a model has.
    """
    match = _PATTERN.fullmatch(paths)
    if match is None:
        return [paths]
    head, spans, tail = match.groups()
    return [f"{head}{number}{tail}" for number in numbers_in(spans)]
