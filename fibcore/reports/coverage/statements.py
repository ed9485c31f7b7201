"""What a hand-kept Markdown page says of models and definitions, statement by statement.

Tables (definitions in rows; models in rows; models in columns), lists, headings and paragraphs are
read as people write them. A statement is about the models that its row or item names, else about
those of the item above it or of its section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from fibcore.extras import need

if TYPE_CHECKING:
    from markdown_it.token import Token

Words = tuple[str, ...]

_NAME = re.compile(r"(?<![\w.])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9*]+|_?\{[^{}\s]*\})+(?:\.\.\.|…)?")
_NUMBER = r"(?<![A-Za-z0-9_.])[x\u00d7]?(\d{1,3}(?:[,_]\d{3})+|\d+)(?![A-Za-z0-9_.]*[A-Za-z0-9_])"
_LABELLED = re.compile(rf"([A-Za-z][A-Za-z0-9 _/-]{{1,40}}?)\s*[:=]\s*{_NUMBER}")
_COUNTED = re.compile(rf"{_NUMBER}\s+([A-Za-z][A-Za-z-]*(?: [A-Za-z][A-Za-z-]*){{0,3}})")
_SIZE = re.compile(r"\b(TP|EP)\s*[=:]?\s*(\d+)\b", re.IGNORECASE)

_YES = re.compile(
    r"[✅✔✓☑🟢]|:white_check_mark:|:heavy_check_mark:|\[[xX]\]|"
    r"\b(?:done|yes|complete|completed|available|present|added|verified|tested|passed|passing)\b",
    re.IGNORECASE,
)
_NO = re.compile(
    r"[❌✗✘☐⬜🔴🚫⏳🚧]|:x:|\[ \]|\b(?:no|none|missing|todo|tbd|wip|pending|planned|absent|"
    r"unverified|untested|failed|not (?:yet|verified|tested|done|there|available|added)|"
    r"in progress)\b",
    re.IGNORECASE,
)
_LOOSE = re.compile(r"\b(?:no|none|yes|present|failed|added|complete|completed)\b", re.IGNORECASE)
_VERIFIED = re.compile(r"verif|test|pass", re.IGNORECASE)
_FRACTION = re.compile(r"(\d+)\s*/\s*(\d+)")

_ASPECTS = (
    ("verified", re.compile(r"verif|test|valid", re.IGNORECASE)),
    ("workloads", re.compile(r"workload", re.IGNORECASE)),
    ("baseline", re.compile(r"solution|baseline", re.IGNORECASE)),
    ("benchmarks", re.compile(r"trace|bench|perf|speed", re.IGNORECASE)),
    (
        "definition",
        re.compile(r"status|done|state|added|cover|support|exist|defin|have|ready", re.IGNORECASE),
    ),
)
_MODEL = re.compile(r"models?|architectures?|used by|checkpoints?", re.IGNORECASE)


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


def need_for_markdown() -> None:
    """Refuse to begin with a page that cannot be read.

    Raises:
        MissingPackageError: the extra `report` is not installed.
    """
    need("report", "pages in Markdown", "markdown_it")


def read_page(text: str, vocabulary: Vocabulary) -> Page:
    """Read a page of Markdown."""
    reader = _Reader(vocabulary)
    reader.read(text)
    return Page(tuple(reader.statements), dict(reader.mentions), tuple(reader.unknown))


class _Reader:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.statements: list[Statement] = []
        self.mentions: dict[str, int] = {}
        self.unknown: list[tuple[int, str]] = []
        self._sections: dict[int, tuple[str, ...]] = {}
        self._items: list[tuple[str, ...]] = []
        self._above: tuple[str, ...] = ()  # the models of the row above

    def read(self, text: str) -> None:
        need_for_markdown()
        from markdown_it import MarkdownIt

        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token.type == "table_open":
                end = next(i for i in range(at, len(tokens)) if tokens[i].type == "table_close")
                self._table(tokens[at:end])
                at = end
            elif token.type == "heading_open":
                self._heading(int(token.tag[1:]), tokens[at + 1])
            elif token.type == "list_item_open":
                self._items.append(())
            elif token.type == "list_item_close":
                self._items.pop()
            elif token.type == "inline" and tokens[at - 1].type == "paragraph_open":
                self._text(token)
            at += 1

    def _heading(self, level: int, inline: Token) -> None:
        models = self._named(_plain(inline), _line(inline))
        self._sections = {k: v for k, v in self._sections.items() if k < level}
        if models:
            self._sections[level] = models

    def _context(self) -> tuple[str, ...]:
        for models in reversed(self._items):
            if models:
                return models
        return self._sections[max(self._sections)] if self._sections else ()

    def _named(self, text: str, line: int) -> tuple[str, ...]:
        models = self.vocabulary.models(text)
        for model in models:
            self.mentions.setdefault(model, line)
        return models

    def _text(self, inline: Token) -> None:
        """A list item or paragraph; each of its lines is a statement."""
        for line, text in _lines(inline):
            named = self._named(text, line)
            if named and self._items:
                self._items[-1] = named
            models = named or self._context()
            names = self.vocabulary.definitions(text)
            if named and not self._items and not names and text.rstrip().endswith((":", "**")):
                self._sections[7] = named  # a paragraph that heads what follows
            rest = self.vocabulary.bare(text)
            self._add(
                Statement(
                    line,
                    text.strip(),
                    models,
                    names,
                    _statuses(rest) if names else (),
                    _numbers(rest),
                    servings=_servings(text),
                )
            )

    def _add(self, statement: Statement) -> None:
        said = (statement.names, statement.statuses, statement.numbers, statement.op_types)
        if any(said) or statement.servings:
            self.statements.append(statement)

    def _table(self, tokens: Sequence[Token]) -> None:
        rows = list(_rows(tokens))
        if not rows:
            return
        _, header = rows[0]
        self._above = ()
        for line, cells in rows[1:]:
            # A cell that the row lacks is empty.
            padded = [*cells, *[""] * (len(header) - len(cells))]
            self._row(line, header, padded)

    def _row(self, line: int, header: Sequence[str], cells: Sequence[str]) -> None:
        text = " | ".join(cells)
        columns = [self.vocabulary.models(title) for title in header]
        for title, named in zip(header, columns, strict=True):
            if named:
                self._named(title, line - 2)
        names = self.vocabulary.definitions(text)
        if any(columns):
            # Models stand in columns: every cell is a statement of its own about one model.
            shared = [c for c, named in zip(cells, columns, strict=False) if not named]
            label = shared[0] if shared else ""
            for cell, named in zip(cells, columns, strict=False):
                if named and cell.strip():
                    self._cell(line, text, named, names, label, cell)
            return
        models = self._models_of(line, header, cells)
        statuses: list[Status] = []
        numbers: list[Number] = []
        op_types: list[tuple[str, bool | tuple[int, int]]] = []
        two = len([c for c in cells if c.strip()]) == 2
        for index, (title, cell) in enumerate(zip(header, cells, strict=False)):
            bare = self.vocabulary.bare(cell)
            if self.vocabulary.models(cell) and not self.vocabulary.definitions(cell):
                continue  # its digits are the model's name
            op_type = None if names else self.vocabulary.op_type(title)
            if op_type is not None:
                mark = _mark(cell)
                if mark is not None:
                    op_types.append((op_type, mark))
                continue
            status = _status(title, bare)
            if status is not None:
                statuses.append(status)
            label = cells[0] if two and index else title
            number = _first_number(bare)
            if number is not None and label.strip() and words_of(label) != words_of(cell):
                numbers.append(Number(label.strip(), number))
            elif title != header[0]:
                numbers += _numbers(bare)
        self._add(
            Statement(
                line,
                text,
                models,
                names,
                tuple(statuses),
                tuple(numbers),
                tuple(op_types),
                _servings(" ".join(f"{t} {c}" for t, c in zip(header, cells, strict=False))),
            )
        )

    def _cell(
        self,
        line: int,
        text: str,
        models: tuple[str, ...],
        names: tuple[str, ...],
        label: str,
        cell: str,
    ) -> None:
        own = self.vocabulary.definitions(cell)
        mark = _mark(cell)
        number = _first_number(self.vocabulary.bare(cell))
        op_type = None if names else self.vocabulary.op_type(label)
        # An unmarked cell of a definition's row says that the model does not use it.
        used = own or (names if mark is True or number is not None else ())
        statuses: tuple[Status, ...] = ()
        if names and not own and mark is True:
            statuses = (Status("definition", True, cell.strip()),)
        self._add(
            Statement(
                line,
                text,
                models,
                used,
                statuses,
                (Number("layers" if names else label, number),) if number is not None else (),
                ((op_type, mark),) if op_type is not None and mark is not None else (),
            )
        )

    def _models_of(self, line: int, header: Sequence[str], cells: Sequence[str]) -> tuple[str, ...]:
        for title, cell in zip(header, cells, strict=False):
            if _MODEL.fullmatch(title.strip()):
                named = self._named(cell, line)
                if named:
                    self._above = named
                    return named
                if not re.search(r"\w", cell):  # as in the row above
                    return self._above
                self.unknown.append((line, cell.strip()))
                return ()
        for cell in cells:
            named = self._named(cell, line)
            if named:
                return named
        return self._context()


def _rows(tokens: Sequence[Token]) -> Iterator[tuple[int, list[str]]]:
    cells: list[str] = []
    line = 0
    for token in tokens:
        if token.type == "tr_open":
            cells, line = [], (token.map or [0])[0] + 1
        elif token.type == "inline":
            cells.append(_plain(token))
        elif token.type == "tr_close":
            yield line, cells


def _line(token: Token) -> int:
    return (token.map or [0])[0] + 1


def _plain(inline: Token) -> str:
    return " ".join(text for _, text in _lines(inline))


def _lines(inline: Token) -> Iterator[tuple[int, str]]:
    """The text of an inline token, line by line."""
    line = _line(inline)
    parts: list[str] = []
    for child in inline.children or ():
        if child.type in ("softbreak", "hardbreak"):
            yield line, "".join(parts)
            line, parts = line + 1, []
        elif child.type in ("text", "code_inline", "image"):
            parts.append(child.content)
        elif child.type in ("strong_open", "strong_close"):
            parts.append("**")
        elif child.type == "html_inline" and child.content.lower().startswith("<br"):
            parts.append(" ")
    yield line, "".join(parts)


def _mark(cell: str) -> bool | tuple[int, int] | None:
    """Whether a cell says done or not; (there, needed) where it says `5/7`; None for neither."""
    fraction = _FRACTION.search(cell)
    if fraction is not None:
        return int(fraction.group(1)), int(fraction.group(2))
    if _NO.search(cell):
        return False
    return True if _YES.search(cell) else None


def _status(title: str, cell: str) -> Status | None:
    """What a cell under a header says is done."""
    aspect = next((name for name, pattern in _ASPECTS if pattern.search(title)), None)
    mark = _mark(cell)
    if aspect is None or not isinstance(mark, bool):
        return None
    if aspect == "definition" and _VERIFIED.search(cell):
        aspect = "verified"
    return Status(aspect, mark, cell.strip())


def _statuses(text: str) -> tuple[Status, ...]:
    """What an item of a list says is done, by its marks and by words that mean nothing else."""
    bare = _LOOSE.sub(" ", text)
    mark = _mark(bare)
    if not isinstance(mark, bool):
        return ()
    found = (_NO if not mark else _YES).search(bare)
    aspect = "verified" if _VERIFIED.search(bare) else "definition"
    return (Status(aspect, mark, found.group().strip() if found else ""),)


def _first_number(cell: str) -> int | None:
    """The number that a cell consists of, whatever explains it in parentheses after it."""
    match = re.match(rf"\W*?{_NUMBER}\s*(?:$|[(*,;/]|layers?\b|heads?\b)", cell.strip())
    return int(re.sub(r"[,_]", "", match.group(1))) if match else None


def _numbers(text: str) -> tuple[Number, ...]:
    """Numbers with labels in a sentence: `KV heads: 8`, `61 layers`."""
    rest = _SIZE.sub(" ; ", text)
    labelled = [Number(m.group(1).strip(), _int(m.group(2))) for m in _LABELLED.finditer(rest)]
    rest = _LABELLED.sub(" ; ", rest)
    counted = (Number(m.group(2), _int(m.group(1)), True) for m in _COUNTED.finditer(rest))
    return (*labelled, *counted)


def _int(text: str) -> int:
    return int(re.sub(r"[,_]", "", text))


def _servings(text: str) -> tuple[tuple[int, int], ...]:
    sizes: dict[str, int] = {}
    for name, value in _SIZE.findall(text):
        sizes.setdefault(name.lower(), int(value))
    return ((sizes.get("tp", 0), sizes.get("ep", 0)),) if sizes else ()
