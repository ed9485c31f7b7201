"""Turns a plugin's real Python file into an emitted one.

`joined` puts in the functions that it shares with its neighbours, `render` sets its constants,
`select` drops the lines that a variant does not need, `named_after` renames what it defines. All
else stays as it is.
"""

from __future__ import annotations

import ast
import functools
import io
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from fibcore import layout
from fibcore.errors import FibcoreError

_FUNCTION = re.compile(r"def +(?P<name>\w+)")
_NO_ASSIGNMENT = ("def ", "class ", "@", "async ", "from ", "import ", '"""')
"""Beginnings of statements that assign to no name of the module."""
_MARK = re.compile(r"^(?P<code>.*?)  # (?P<kind>only|except): (?P<word>\w+)$")
_ALTERNATIVE = re.compile(r"^(?P<indent> *)# (?P<kind>only|except): (?P<word>\w+): (?P<code>.*)$")


class Folder(Protocol):
    """A path or package resource that holds files."""

    @property
    def name(self) -> str:
        """Its last part."""

    def joinpath(self, name: str, /) -> Readable:
        """A file in it."""


class Readable(Protocol):
    """A path or package resource that holds text."""

    def read_text(self, encoding: str | None = None) -> str:
        """The whole text."""


def render(template: str | Path | Readable, constants: Mapping[str, object]) -> str:
    """The source text of `template` with its top-level constants set.

    A reference is kept as a file that runs by itself, with constants of an example at its top
    (`NUM_QO_HEADS = 32`); rendering replaces the values and nothing else.

    Args:
        template: The file (or its text, where it holds a newline).
        constants: Name to value; a value is an int, float, str, bool, None or a tuple of those.

    Raises:
        FibcoreError: a name is not assigned exactly once at the top level of the file, or a value
            is not one that source text can state.
    """
    sources = {name: _source(name, value) for name, value in constants.items()}
    text = template if isinstance(template, str) else template.read_text(encoding="utf-8")
    lines = _lines(text)
    found: dict[str, ast.expr] = {}
    for name, value in _assignments(text):
        if name in constants:
            if name in found:
                raise FibcoreError("a template assigns a constant twice", found=name)
            found[name] = value
    missing = sorted(set(constants) - set(found))
    if missing:
        raise FibcoreError(
            "a template lacks constants that are to be set",
            where=str(template)[:200],
            expected="top-level assignments of " + ", ".join(missing),
        )
    # From the end backwards, so that earlier positions stay valid.
    places = {name: (value.lineno, value.col_offset) for name, value in found.items()}
    for name in sorted(found, key=places.__getitem__, reverse=True):
        value = found[name]
        first, last = value.lineno - 1, (value.end_lineno or value.lineno) - 1
        # ast columns count UTF-8 bytes.
        head = lines[first].encode()[: value.col_offset].decode()
        tail = lines[last].encode()[value.end_col_offset or 0 :].decode()
        lines[first : last + 1] = [head + sources[name] + tail]
    return "".join(lines)


def _assignments(text: str) -> Iterator[tuple[str, ast.expr]]:
    """What top-level statements assign to one name: the name and the value, with its place."""
    for node in _syntax(text, lambda piece: not piece.startswith(_NO_ASSIGNMENT)):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name):
            yield target.id, value


def _syntax(text: str, wanted: Callable[[str], bool]) -> list[ast.stmt]:
    """The syntax of the top-level statements whose text is wanted.

    The functions of a template are most of it, and parsing them takes milliseconds.
    """
    found: list[ast.stmt] = []
    for piece, line, _ in layout.statements(text, layout.long_strings(text)):
        if wanted(piece):
            try:
                nodes = ast.parse(piece).body
            except SyntaxError:  # cut in a wrong place
                return ast.parse(text).body
            for node in nodes:
                ast.increment_lineno(node, line - 1)
            found += nodes
    return found


def joined(folder: Folder, name: str) -> str:
    """The text of `name` in a folder, with the functions that it imports from a neighbour there.

    References are emitted one by one, each whole. Functions that several of them share stand in one
    file, and the others import them: `from my_plugin.references.decode import attend`. Here the
    functions take the place of the import, in the order that they and the file's own functions have
    in the neighbour.

    Args:
        folder: The folder, which is the last but one part of the imported module's name.
        name: The file.

    Raises:
        FibcoreError: the neighbour has no such function, or none of those behind it is here.
    """
    text = folder.joinpath(name).read_text(encoding="utf-8")
    for neighbour, names in _imports(text, folder.name):
        theirs = folder.joinpath(neighbour).read_text(encoding="utf-8")
        text = _with(text, folder.name, neighbour, names, theirs)
    return text


# Many definitions of a model are rendered from few files, and parsing takes milliseconds.
@functools.lru_cache(maxsize=64)
def _imports(text: str, folder: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What a text imports from its folder: the file, and the names."""
    return tuple(
        (f"{node.module}".rpartition(".")[2] + ".py", tuple(alias.name for alias in node.names))
        for node in _nodes(text, folder)
    )


def _nodes(text: str, folder: str) -> list[ast.ImportFrom]:
    if f".{folder}." not in text:
        return []
    return [
        node
        for node in _syntax(text, lambda piece: piece.startswith("from "))
        if isinstance(node, ast.ImportFrom) and f".{folder}." in f"{node.module}"
    ]


@functools.lru_cache(maxsize=64)
def _with(text: str, folder: str, neighbour: str, names: tuple[str, ...], theirs: str) -> str:
    """A text with functions of a neighbour in place of its first import."""
    node, lines = _nodes(text, folder)[0], _lines(text)
    # With the empty line behind it.
    del lines[node.lineno - 1 : (node.end_lineno or node.lineno) + 1]
    text, found = "".join(lines), _functions(theirs)
    order = list(found)
    for name in sorted(names, key=lambda n: order.index(n) if n in order else -1, reverse=True):
        own = _functions(text)
        after = order[order.index(name) + 1 :] if name in order else []
        following = next((own[other] for other in after if other in own), None)
        if following is None:
            raise FibcoreError(
                "a template imports what cannot be put in",
                where=neighbour,
                expected=f"{name}, and behind it a function that the template has",
                found=", ".join(order),
            )
        text = text.replace(following, found[name] + following, 1)
    return text


@functools.lru_cache(maxsize=64)
def _functions(text: str) -> Mapping[str, str]:
    """Top-level function to its text, decorators before and empty lines and comments behind it."""
    found: dict[str, str] = {}
    for piece, _, _ in layout.statements(text, layout.long_strings(text)):
        head = _FUNCTION.match(piece)
        if head is not None:
            found[head["name"]] = piece
        elif piece.startswith("@"):
            nodes = ast.parse(piece).body
            found |= {node.name: piece for node in nodes if isinstance(node, ast.FunctionDef)}
    return found


def _lines(text: str) -> list[str]:
    # Not str.splitlines, which also splits at form feeds and other characters that ast does not.
    return io.StringIO(text, newline="").readlines()


def select(text: str, words: Collection[str], known: Collection[str]) -> str:
    """`text` without the lines that `words` rule out, and without marks.

    A template runs by itself as the kernel with everything in it. A line that only some kernels
    need ends in `# only: WORD`, one that they must not have in `# except: WORD`. A line that would
    break the template as it stands is a comment there, `# except: WORD: CODE`, and code where it
    is selected.

    Args:
        text: The template.
        words: What the emitted source is to have.
        known: All the words that marks of this template may have.

    Raises:
        FibcoreError: a mark has an unknown word.
    """
    kept = []
    for line in text.split("\n"):
        found = _MARK.match(line) or _ALTERNATIVE.match(line)
        if found is None:
            kept.append(line)
            continue
        if found["word"] not in known:
            raise FibcoreError(
                "a template has an unknown mark",
                expected=", ".join(sorted(known)),
                found=found["word"],
            )
        if (found["word"] in words) == (found["kind"] == "only"):
            kept.append(found.groupdict().get("indent", "") + found["code"])
    return "\n".join(kept)


def named_after(text: str, name: str, suffix: str, constants: Mapping[str, object]) -> str:
    """`text` with every top-level name that begins with `name` given a suffix.

    Ground truths of several definitions stand in one module, so what a constant sets apart needs
    names of its own: `NAME_TOP_K` and `name_experts` become `NAME_SUFFIX_TOP_K` and
    `name_suffix_experts`.

    Args:
        text: A ground truth.
        name: The entry's name there, in lower case; constants begin with it in upper case.
        suffix: What to add, in lower case.
        constants: Values of the constants, without their prefix.

    Raises:
        FibcoreError: a constant is not assigned exactly once at the top level.
    """
    text = render(text, {f"{name.upper()}_{key}": value for key, value in constants.items()})
    text = re.sub(rf"\b{name}(?=\b|_)", f"{name}_{suffix}", text)
    return re.sub(rf"\b{name.upper()}(?=_)", f"{name}_{suffix}".upper(), text)


def _source(name: str, value: object) -> str:
    """The value as Python source; subclasses (a NumPy float, a number with origins) as plain."""
    if isinstance(value, tuple):
        items = [_source(name, item) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, float) and math.isfinite(value):
        return float.__repr__(value)
    raise FibcoreError(
        "a constant is not a plain value",
        where=name,
        expected="a finite int or float, a str, a bool, None, or a tuple of those",
        found=repr(value),
    )
