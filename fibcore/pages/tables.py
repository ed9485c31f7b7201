"""Data of the table and matrix macros."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from fibcore.errors import FibcoreError

Tone = Literal["good", "warn", "bad", "muted", "none"]

Value = str | int | float | None

_NO_KEY = re.compile(r"[^a-z0-9]+")


def key_of(title: str) -> str:
    """A title as the URL's hash names it: `Op type` becomes `op-type`."""
    return _NO_KEY.sub("-", title.lower()).strip("-")


def _columns(given: Iterable[Column]) -> tuple[Column, ...]:
    return tuple(given)


def _rows(given: Iterable[TableRow]) -> tuple[TableRow, ...]:
    return tuple(given)


def _cells(given: Iterable[Value | Cell]) -> tuple[Value | Cell, ...]:
    return tuple(given)


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


def _entries(given: Iterable[LegendEntry]) -> tuple[LegendEntry, ...]:
    return tuple(given)


@attrs.frozen
class Column:
    """A column of a table.

    Attributes:
        title: Its header; unique in the table.
        kind: "text" sorts in the natural order of names, "number" by size, and stands right.
        filter: Whether a select above the table filters by its values.
        help: More words, as the header's title.
    """

    title: str
    kind: Literal["text", "number"] = "text"
    filter: bool = False
    help: str = ""

    @property
    def key(self) -> str:
        """Its name in the URL's hash."""
        return key_of(self.title)


@attrs.frozen
class Cell:
    """A cell of a table that is more than a plain value.

    Attributes:
        text: What it says.
        sort: What it sorts by, where that is not the text; a number in a "number" column.
        values: What a filter of its column takes it for; the text alone where empty.
        chips: Show `values` one by one in place of the text.
        title: More words, shown on hover.
        href: Where it links to: `#anchor`.
        tone: Its colour.
        code: Whether it is a name of code.
    """

    text: str
    sort: float | str | None = None
    values: tuple[str, ...] = ()
    chips: bool = False
    title: str = ""
    href: str = ""
    tone: Tone = "none"
    code: bool = False


def as_cell(value: Value | Cell) -> Cell:
    """A plain value as a cell: None is empty, a float has four digits."""
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell("")
    if isinstance(value, str):
        return Cell(value)
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), sort=value)


@attrs.frozen
class TableRow:
    """A row of a table.

    Attributes:
        cells: Its cells or plain values, one for each column.
        anchor: `#anchor` in the URL leads to it; unique in the page.
        search: Words that the search input finds it by, besides those that it shows.
        data: What its details are rendered from; None where it has none.
    """

    cells: tuple[Value | Cell, ...] = attrs.field(converter=_cells)
    anchor: str = ""
    search: str = ""
    data: Any = None


@attrs.frozen
class Table:
    """A sortable table with a search input and filters.

    Attributes:
        id: Its name in the URL's hash and in the page; letters, digits and hyphens.
        caption: What it is about, for those who cannot see where it stands.
        columns: Its columns; the first holds the row headers.
        rows: Its rows, in the order in which they stand at first.
        empty: What stands in place of a table without rows.
        searchable: Whether there is a search input.
    """

    id: str
    caption: str
    columns: tuple[Column, ...] = attrs.field(converter=_columns)
    rows: tuple[TableRow, ...] = attrs.field(converter=_rows)
    empty: str = "Nothing."
    searchable: bool = True

    def __attrs_post_init__(self) -> None:
        _check_id(self.id)
        keys = [column.key for column in self.columns]
        if len(set(keys)) != len(keys):
            raise FibcoreError("two columns of a table have one name", found=", ".join(keys))
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise FibcoreError(
                    "a row has not one cell for each column",
                    where=f"table {self.id}",
                    expected=f"{len(self.columns)} cells",
                    found=repr(row.cells),
                )

    @property
    def opens(self) -> bool:
        """Whether any row has details."""
        return any(row.data is not None for row in self.rows)

    def cells(self, row: TableRow) -> tuple[Cell, ...]:
        """The cells of a row."""
        return tuple(as_cell(value) for value in row.cells)

    def options(self, index: int) -> list[str]:
        """The choices of a column's filter, in natural order."""
        seen = {v for row in self.rows for v in filter_values(as_cell(row.cells[index]))}
        return sorted(seen, key=natural)


def filter_values(cell: Cell) -> tuple[str, ...]:
    """The values by which a filter finds a cell."""
    return cell.values or ((cell.text,) if cell.text else ())


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key that puts `h128` before `h4096`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text.lower())
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in parts]


@attrs.frozen
class MatrixCell:
    """A cell of a matrix.

    Attributes:
        text: A short text, such as `7/7`.
        title: What it means in words: `llama-3.1-8b, gemm: all 5 definitions are verified`.
        tone: Its colour.
        level: A shade from 0 to 1 in place of a tone, for amounts.
        sort: What it sorts by; the text in natural order where None.
        href: Where it links to.
    """

    text: str
    title: str
    tone: Tone = "none"
    level: float | None = None
    sort: float | None = None
    href: str = ""


@attrs.frozen
class LegendEntry:
    """The meaning of a tone (or a level) of a matrix."""

    text: str
    tone: Tone = "none"
    level: float | None = None


@attrs.frozen
class Matrix:
    """Rows and columns of coloured cells.

    Attributes:
        id: Its name in the URL's hash and in the page; letters, digits and hyphens.
        caption: What it is about.
        corner: What the row headers are, such as `Model`.
        rows: Names of the rows.
        columns: Names of the columns.
        cells: (row, column) to cell; one that is not there is empty.
        legend: What the colours mean.
        links: Name of a row to where its header links to.
        searchable: Whether there is a search input for the rows.
    """

    id: str
    caption: str
    corner: str
    rows: tuple[str, ...] = attrs.field(converter=_names)
    columns: tuple[str, ...] = attrs.field(converter=_names)
    cells: Mapping[tuple[str, str], MatrixCell]
    legend: tuple[LegendEntry, ...] = attrs.field(default=(), converter=_entries)
    links: Mapping[str, str] = attrs.field(factory=dict)
    searchable: bool = True

    def __attrs_post_init__(self) -> None:
        _check_id(self.id)
        unknown = [k for k in self.cells if k[0] not in self.rows or k[1] not in self.columns]
        if unknown:
            raise FibcoreError(
                "a cell is in no row and column", where=f"matrix {self.id}", found=str(unknown[0])
            )

    def column_key(self, column: str) -> str:
        """A column's name in the URL's hash."""
        return key_of(column)


def _check_id(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise FibcoreError(
            "not a table's id", expected="a letter, then letters, digits and -", found=repr(name)
        )
