"""Tables of others as records: rows of CSV, objects of JSON."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from fibcore.configs.catalogue import find_entry
from fibcore.errors import SourceError
from fibcore.model.json import decode
from fibcore.regular_files import read_bytes

MODEL_KEYS = ("model", "model_name", "model_id", "hf_model", "hf_repo_id", "architecture")
"""Columns that name the model of a row."""

TP_KEYS, EP_KEYS = ("tp", "tp_size", "tensor_parallel_size"), ("ep", "ep_size")
"""Columns that say at which parallel sizes a row holds."""


@attrs.frozen
class TableRow:
    """A row of a table.

    Attributes:
        place: Where it stands: `line 3`, `$.llama3.8B`.
        labels: The names of what it stands in, and its texts, outermost first.
        model: What its own column calls the model; None where there is no such column.
        numbers: Its integers by column.
        tp: The tensor-parallel size that it says; None where it says none.
        ep: The expert-parallel size, likewise.
    """

    place: str
    labels: tuple[str, ...]
    model: str | None
    numbers: dict[str, int]
    tp: int | None = None
    ep: int | None = None

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {value}" for name, value in self.numbers.items())
        return f"{self.place}: {' '.join(self.labels)}{': ' if self.labels else ''}{sizes}"


def read_table(path: Path) -> list[TableRow]:
    """The records of a CSV or JSON file.

    Raises:
        SourceError: it cannot be read, is neither, or has no record with a number.
    """
    try:
        text = read_bytes(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            "cannot read the table",
            where=str(path),
            expected="a file of CSV or JSON in UTF-8",
            found=getattr(error, "strerror", None) or str(error),
        ) from None
    records = list(_of_json(text, path) if path.suffix == ".json" else _of_csv(text))
    if not records:
        raise SourceError(
            "the table has no row with a number",
            where=str(path),
            expected="CSV with a line of column names, or objects of JSON",
        )
    return records


def _of_csv(text: str) -> Iterator[TableRow]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    for row in reader:
        texts = {str(k).strip(): (v or "").strip() for k, v in row.items() if isinstance(v, str)}
        numbers = {name: int(v) for name, v in texts.items() if v.lstrip("-").isdecimal()}
        rest = {name: value for name, value in texts.items() if value and name not in numbers}
        yield from _record(f"line {reader.line_num}", (), rest, numbers)


def _of_json(text: str, path: Path) -> Iterator[TableRow]:
    try:
        data = decode(text)
    except ValueError as error:
        raise SourceError("the table is not JSON", where=str(path), found=str(error)) from None
    yield from _walk(data, "$", ())


def _walk(data: Any, place: str, labels: tuple[str, ...]) -> Iterator[TableRow]:
    if isinstance(data, list):
        for number, one in enumerate(data):
            yield from _walk(one, f"{place}[{number}]", labels)
    elif isinstance(data, dict):
        numbers = {k: v for k, v in data.items() if type(v) is int}
        texts = {k: v for k, v in data.items() if isinstance(v, str)}
        yield from _record(place, labels, texts, numbers)
        for key, one in data.items():
            yield from _walk(one, f"{place}.{key}", (*labels, key))


def _record(
    place: str, labels: tuple[str, ...], texts: dict[str, str], numbers: dict[str, int]
) -> Iterator[TableRow]:
    """The record of a row; none where no number is left beside those of how it is served."""
    sizes = {name.lower(): value for name, value in numbers.items()}
    rest = {n: v for n, v in numbers.items() if n.lower() not in (*TP_KEYS, *EP_KEYS)}
    model = next((v for k, v in texts.items() if k.lower() in MODEL_KEYS), None)
    if rest:
        named = tuple(v for k, v in texts.items() if k.lower() not in MODEL_KEYS)
        yield TableRow(
            place,
            (*labels, *named),
            model,
            rest,
            next((sizes[name] for name in TP_KEYS if name in sizes), None),
            next((sizes[name] for name in EP_KEYS if name in sizes), None),
        )


def named_models(record: TableRow) -> tuple[str, ...]:
    """The model that a row names, by its column or by the words around it; empty for none."""
    if record.model is not None:
        return (record.model,)
    labels = record.labels
    spans = (
        "-".join(labels[first:last])
        for first, last in itertools.combinations(range(len(labels) + 1), 2)
    )
    known = (entry.slug for text in spans if (entry := find_entry(text)) is not None)
    return tuple(dict.fromkeys(known))[:1]
