"""Regular expressions whose matching comes to an end.

Python's `re` goes back and tries again, and a pattern of ten characters can make it do so for
hours, in one call that nothing interrupts. So the tries are counted before: an upper bound of the
ways in which the parts of the pattern can be laid over the text, part by part and position by
position, which takes time in proportion to both. Where they are few `re` itself matches, so that
what comes out is Python's; where they are many the match is refused.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from fibcore.elaborate.python.limits import MAX_CONTAINER, TooLarge

# The parser of `re` is the only thing that says how `re` understands a pattern.
_parser = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

MAX_PATTERN = 4096
"""Characters of a pattern."""
MAX_TEXT = 1 << 14
"""Characters of a text that is searched."""
MAX_TRIES = 1 << 20
"""Tries of a match, some 20 ms."""
_FEW = 1 << 14
"""Tries that need not be counted for the text at hand, where no text of its length takes more."""
_TRIES_A_STEP = 128
_MAX_WORK = 1 << 20
"""Additions that the count itself may take, a few tenths of a second."""
_MAX_CASE_RANGE = 1 << 18
"""Characters in the ranges of a pattern that ignores case, which are gone through one by one."""


class _Charge(threading.local):
    """What counts the steps of matches that no evaluator is at hand for."""

    spend: Callable[[int, str], None] | None = None


_CHARGE = _Charge()


@contextlib.contextmanager
def charging(spend: Callable[[int, str], None]) -> Iterator[None]:
    """Count the steps of the matches inside.

    Args:
        spend: What counts them, and raises where they are too many (`Budget.spend`).
    """
    outer, _CHARGE.spend = _CHARGE.spend, spend
    try:
        yield
    finally:
        _CHARGE.spend = outer


@attrs.frozen(eq=False)
class Bounded:
    """A compiled pattern with its syntax."""

    compiled: re.Pattern[Any]
    tree: Any
    ignores_case: bool
    many_lines: bool
    _worst: dict[tuple[int, bool], int] = attrs.field(factory=dict)

    def allow(self, text: Any, *, anchored: bool) -> None:
        """Count a match before it is made.

        Args:
            text: What is searched.
            anchored: Whether it has to begin with the text.

        Raises:
            TooLarge: it may take too many tries.
        """
        if len(text) > MAX_TEXT:
            raise TooLarge(len(text) >> 4, "a search through a long text")
        tries = self._worst_case(len(text), anchored)
        work = 0
        if tries > _FEW:
            counted = _Tries(self, text if isinstance(text, str) else text.decode("latin-1"))
            tries, work = counted.count(anchored), counted.work
        if tries > MAX_TRIES:
            shown = str(self.compiled.pattern)[:60]
            raise TooLarge(tries // _TRIES_A_STEP, f"the regular expression {shown!r}")
        if _CHARGE.spend is not None:
            _CHARGE.spend(tries // _TRIES_A_STEP + work // 64 + 1, "a regular expression")

    def _worst_case(self, length: int, anchored: bool) -> int:
        """Tries that a text of at most twice the length takes at most, or one more than few."""
        rounded = 1 << max(length, 1).bit_length()
        key = (rounded, anchored)
        if key not in self._worst:
            self._worst[key] = _Tries(self, None, rounded, _FEW).count(anchored)
        return self._worst[key]


@functools.lru_cache(maxsize=1024)
def bounded(pattern: str | bytes, flags: int = 0) -> Bounded:
    """A pattern, compiled and ready to be counted.

    Raises:
        re.error: it is no regular expression.
        TooLarge: it is too long, too deep or takes too long to compile.
    """
    flags &= ~re.DEBUG  # which prints
    if len(pattern) > MAX_PATTERN:
        raise TooLarge(len(pattern), "a long regular expression")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of patterns that change with Python
            tree = _parser.parse(pattern, flags)
            every = list(_nodes(tree))
            ignores = _any_flag(re.IGNORECASE, tree, every)
            lines = _any_flag(re.MULTILINE, tree, every)
            wide = sum(held[1] - held[0] for kind, held in every if kind == "RANGE")
            if ignores and wide > _MAX_CASE_RANGE:
                raise TooLarge(wide, "a regular expression of wide ranges")
            return Bounded(re.compile(pattern, flags), tree, ignores, lines)
    except RecursionError:
        raise TooLarge(len(pattern), "a regular expression of deep groups") from None


def _nodes(tree: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a pattern, however deep: their kinds and arguments."""
    pending = [tree]
    while pending:
        for op, argument in pending.pop():
            kind = str(op)
            yield kind, argument
            if kind == "IN":
                yield from ((str(o), a) for o, a in argument)
            pending += _inner(kind, argument)


def _inner(kind: str, argument: Any) -> list[Any]:
    """The patterns inside of a part."""
    if kind == "BRANCH":
        return list(argument[1])
    if kind == "ATOMIC_GROUP":
        return [argument]
    if kind in _REPEATS or kind in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
        return [argument[-1]]
    if kind == "GROUPREF_EXISTS":
        return [part for part in argument[1:] if part is not None]
    return []


_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_SINGLE = ("LITERAL", "NOT_LITERAL", "ANY", "ANY_ALL", "IN", "CATEGORY", "RANGE")


def _any_flag(flag: int, tree: Any, every: list[tuple[str, Any]]) -> bool:
    """Whether a pattern, or a group of it, has a flag."""
    added = [argument[1] for kind, argument in every if kind == "SUBPATTERN"]
    return any(flags & flag for flags in (tree.state.flags, *added))


class _Enough(Exception):
    """There are more tries than anybody wants to count."""


class _Tries:
    """Counts the tries of one match.

    A position of the text is reached in so many ways; each part of the pattern makes of the ways
    to the positions before it those to the positions behind it.

    Args:
        pattern: The pattern.
        text: The text; None for the worst of a length, of which each character fits each part.
        length: That length.
        limit: Where to stop.
    """

    def __init__(
        self, pattern: Bounded, text: str | None, length: int = 0, limit: int = MAX_TRIES
    ) -> None:
        self._pattern = pattern
        self._text = text
        self._length = length if text is None else len(text)
        self._limit = limit
        self._count = 0
        self.work = 0
        self._fits: dict[int, list[bool]] = {}

    def count(self, anchored: bool) -> int:
        """The tries, or one more than the limit."""
        ways = [1 if not anchored or not at else 0 for at in range(self._length + 1)]
        try:
            self._sequence(self._pattern.tree, ways)
        except _Enough:
            return self._limit + 1
        return self._count

    def _add(self, ways: list[int]) -> None:
        self._count += sum(ways)
        self.work += len(ways)
        if self._count > self._limit or self.work > _MAX_WORK:
            raise _Enough

    def _sequence(self, parts: Any, ways: list[int]) -> list[int]:
        for part in parts:
            self._add(ways)
            ways = self._part(part, ways)
        return ways

    def _part(self, part: Any, ways: list[int]) -> list[int]:
        op, argument = part
        kind = str(op)
        if kind in _SINGLE:
            fits = self._where(part)
            return [0, *(w if f else 0 for w, f in zip(ways, fits, strict=False))]
        if kind in _REPEATS:
            return self._repeat(argument, ways)
        if kind in ("SUBPATTERN", "ATOMIC_GROUP"):
            return self._sequence(argument[-1] if kind == "SUBPATTERN" else argument, ways)
        if kind == "BRANCH":
            return _sum(ways, [self._sequence(side, ways) for side in argument[1]])
        if kind == "GROUPREF_EXISTS":
            sides = [self._sequence(side or (), ways) for side in argument[1:]]
            return _sum(ways, sides)
        if kind in ("ASSERT", "ASSERT_NOT"):
            self._look(argument, ways)
            return ways
        if kind == "AT":
            begins = str(argument) in ("AT_BEGINNING", "AT_BEGINNING_STRING")
            if begins and not self._pattern.many_lines:
                return [ways[0], *([0] * self._length)]
            return ways
        if kind == "FAILURE":
            return ways
        # What a group held, or a kind of part of a newer Python: it may end anywhere.
        self._add([way * (self._length + 1) for way in ways])
        return _running(ways)

    def _repeat(self, argument: Any, ways: list[int]) -> list[int]:
        least, most, body = argument
        least, most = int(least), int(most)
        single = len(body) == 1 and str(body[0][0]) in _SINGLE
        if single and most > self._length:
            for _ in range(min(least, self._length + 1)):
                ways = self._part(body[0], ways)
            behind = self._run(self._where(body[0]), ways)
            self._add(behind)
            return behind
        results = [ways] if least == 0 else []
        # A body that matches nothing is not tried again at the same place.
        for number in range(1, min(most, self._length + least + 1) + 1):
            ways = self._sequence(body, ways)
            if not any(ways):
                break
            if number >= least:
                results.append(ways)
            self._add(ways)
        return _sum(ways, results)

    @staticmethod
    def _run(fits: list[bool], ways: list[int]) -> list[int]:
        """The ways behind any number of one character."""
        behind = [ways[0]]
        for at in range(1, len(ways)):
            behind.append(ways[at] + (behind[-1] if fits[at - 1] else 0))
        return behind

    def _look(self, argument: Any, ways: list[int]) -> None:
        """Count what a look ahead or back tries; it goes on from where it was."""
        direction, body = argument
        if direction > 0:
            self._sequence(body, ways)
            return
        _, width = body.getwidth()
        inner = _Tries(self._pattern, None, min(int(width), self._length), self._limit)
        inner._sequence(body, [1] + [0] * inner._length)
        self._add([way * (inner._count + 1) for way in ways])

    def _where(self, part: Any) -> list[bool]:
        """At which positions a character may fit a part."""
        if self._text is None:
            return [True] * self._length
        key = id(part)
        if key not in self._fits:
            held: dict[str, bool] = {}
            for character in self._text:
                if character not in held:
                    held[character] = self._may_fit(part, character)
            self._fits[key] = [held[c] for c in self._text]
        return self._fits[key]

    def _may_fit(self, part: Any, character: str) -> bool:
        if not character.isascii():
            return True
        if not self._pattern.ignores_case:
            return _fits(part, character)
        return any(_fits(part, c) for c in {character, character.lower(), character.upper()})


def _fits(part: Any, character: str) -> bool:
    """Whether an ASCII character may fit a part; true where that is not certain."""
    kind, argument = str(part[0]), part[1]
    code = ord(character)
    if kind == "LITERAL":
        return bool(argument == code) or argument > 127
    if kind == "NOT_LITERAL":
        return bool(argument != code)
    if kind == "RANGE":
        return bool(argument[0] <= code <= argument[1]) or argument[1] > 127
    if kind == "CATEGORY":
        known = _CATEGORIES.get(str(argument))
        return known is None or known(character)
    if kind == "IN":
        if str(argument[0][0]) != "NEGATE":
            return any(_fits(inner, character) for inner in argument)
        certain = (("LITERAL", code), ("RANGE", (code, code)))
        return not any(
            (str(o), a) in certain or (str(o) == "RANGE" and a[0] <= code <= a[1])
            for o, a in argument[1:]
        )
    return True


def _word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_NOT_DIGIT": lambda c: not c.isdigit(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda c: not c.isspace(),
    "CATEGORY_WORD": _word,
    "CATEGORY_NOT_WORD": lambda c: not _word(c),
}


def _sum(ways: list[int], results: list[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*results, strict=True)] if results else [0] * len(ways)


def _running(ways: list[int]) -> list[int]:
    total = 0
    sums = []
    for way in ways:
        total += way
        sums.append(total)
    return sums


# -- the functions of `re` ----------------------------------------------------------------------


def matches(pattern: str, text: str, *, whole: bool = False) -> bool:
    """Whether a text begins with a pattern, or is one as a whole.

    Raises:
        re.error: the pattern is none.
        TooLarge: to say so may take too long.
    """
    known = bounded(pattern)
    known.allow(text, anchored=True)
    return (known.compiled.fullmatch if whole else known.compiled.match)(text) is not None


def _substituted(known: Bounded, repl: Any, text: Any, count: Any = 0) -> Any:
    if isinstance(repl, (str, bytes)) and isinstance(text, (str, bytes)):
        back = b"\\" if isinstance(repl, bytes) else "\\"
        once = len(repl) + repl.count(back) * len(text)  # type: ignore[arg-type]
        places = len(text) + 1
        if isinstance(count, int) and 0 < count < places:
            places = count
        if len(text) + places * once > MAX_CONTAINER:
            places = min(places, sum(1 for _ in known.compiled.finditer(text)))
        if len(text) + places * once > MAX_CONTAINER:
            raise TooLarge((len(text) + places * once) >> 4, "re.sub")
    return known.compiled.sub(repl, text, count)


def _of_pattern(name: str) -> Callable[..., Any]:
    """A method of a compiled pattern: `pattern.match(text, ...)`."""
    text_at = 1 if name == "sub" else 0

    def run(pattern: re.Pattern[Any], *args: Any, **kwargs: Any) -> Any:
        known = bounded(pattern.pattern, pattern.flags)
        text = args[text_at] if len(args) > text_at else kwargs.get("string")
        if isinstance(text, (str, bytes)) and isinstance(text, type(pattern.pattern)):
            known.allow(text, anchored=name in ("match", "fullmatch"))
        if name == "sub":
            return _substituted(known, *args, **kwargs)
        return getattr(pattern, name)(*args, **kwargs)

    return run


_ARGUMENTS = {"findall": 1, "fullmatch": 1, "match": 1, "search": 1, "split": 2, "sub": 3}
"""Functions, with the number of their arguments between the pattern and the flags."""
METHODS: dict[str, Callable[..., Any]] = {name: _of_pattern(name) for name in _ARGUMENTS}
"""Methods of compiled patterns."""


def _function(name: str) -> Callable[..., Any]:
    """A function of the module: `re.match(pattern, text, ...)`."""

    def run(pattern: Any, *args: Any, flags: Any = 0, **kwargs: Any) -> Any:
        fixed = _ARGUMENTS[name]
        if len(args) > fixed:
            (flags,) = args[fixed:]
            args = args[:fixed]
        return METHODS[name](bounded(pattern, int(flags)).compiled, *args, **kwargs)

    run.__name__ = name
    return run


def compiled(pattern: Any, flags: Any = 0) -> re.Pattern[Any]:
    """`re.compile(pattern, flags)`."""
    return bounded(pattern, int(flags)).compiled


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _function(name) for name in METHODS},
    "compile": compiled,
    "escape": re.escape,
}
"""Functions of `re`."""
