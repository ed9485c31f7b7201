"""What one row, item or sentence of a hand-kept page says, as data."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Status:
    """That something is done or not: what (a step of coverage), whether, and the page's words."""

    aspect: str
    done: bool
    words: str


@attrs.frozen
class Number:
    """A number with a label: `KV heads`, 8. `qualified` where the label is part of a sentence."""

    label: str
    value: int
    qualified: bool = False


@attrs.frozen
class Statement:
    """What one row or item says.

    Attributes:
        line: Its line in the page, from 1.
        text: The row or item.
        models: The models that it is about, as the vocabulary names them.
        names: Definitions that it names, `*` standing for anything.
        statuses: What is done and what not.
        numbers: Layer counts and sizes.
        op_types: Op types that it marks as done or not, or as (there, needed): where no definition
            is named.
        servings: (TP, EP) that it speaks of; 0 where it does not say one of the two.
    """

    line: int
    text: str
    models: tuple[str, ...]
    names: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    numbers: tuple[Number, ...] = ()
    op_types: tuple[tuple[str, bool | tuple[int, int]], ...] = ()
    servings: tuple[tuple[int, int], ...] = ()


@attrs.frozen
class Page:
    """A page that was read.

    Attributes:
        statements: What it says.
        mentions: Model to the first line that names it.
        unknown: (line, words) of what stands where a model's name should and is none that is known.
    """

    statements: tuple[Statement, ...]
    mentions: Mapping[str, int]
    unknown: tuple[tuple[int, str], ...]
