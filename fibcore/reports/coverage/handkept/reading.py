"""Reads a hand-kept Markdown page, statement by statement.

Tables (definitions in rows; models in rows; models in columns), lists, headings and paragraphs are
read as people write them. A statement is about the models that its row or item names, else about
those of the item above it or of its section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fibcore.extras import need
from fibcore.reports.coverage.handkept.cells import (
    first_number,
    mark_of,
    numbers_in,
    servings_in,
    status_of,
    statuses_in,
)
from fibcore.reports.coverage.handkept.statements import Number, Page, Statement, Status
from fibcore.reports.coverage.handkept.vocabulary import Vocabulary, words_of

if TYPE_CHECKING:
    from markdown_it.token import Token

_MODEL = re.compile(r"models?|architectures?|used by|checkpoints?", re.IGNORECASE)


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
                    statuses_in(rest) if names else (),
                    numbers_in(rest),
                    servings=servings_in(text),
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
                mark = mark_of(cell)
                if mark is not None:
                    op_types.append((op_type, mark))
                continue
            status = status_of(title, bare)
            if status is not None:
                statuses.append(status)
            label = cells[0] if two and index else title
            number = first_number(bare)
            if number is not None and label.strip() and words_of(label) != words_of(cell):
                numbers.append(Number(label.strip(), number))
            elif title != header[0]:
                numbers += numbers_in(bare)
        self._add(
            Statement(
                line,
                text,
                models,
                names,
                tuple(statuses),
                tuple(numbers),
                tuple(op_types),
                servings_in(" ".join(f"{t} {c}" for t, c in zip(header, cells, strict=False))),
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
        mark = mark_of(cell)
        number = first_number(self.vocabulary.bare(cell))
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
