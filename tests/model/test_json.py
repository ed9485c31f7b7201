"""The converter: plain data of records, what is refused and at which JSON path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from fibcore.errors import DatasetError, FibcoreError, ServingError
from fibcore.model.forms import DataError
from fibcore.model.json import configure, from_data, from_text, to_data, to_text
from fibcore.model.serving import Serving
from fibcore.model.tree import SourcePlace


@attrs.frozen
class Part:
    cls: str
    size: int
    level: Literal["low", "high"] = "low"
    share: float = 0.5
    place: SourcePlace | None = None


@attrs.frozen
class Whole:
    name: str
    parts: tuple[Part, ...]
    named: Mapping[str, Part]
    sure: bool = True
    value: int | float | str | bool = 0
    anything: Any = None
    note: str | None = None


configure(Part, optional=("share", "place"), renamed={"cls": "class"})

DATA: dict[str, Any] = {
    "name": "one",
    "parts": [{"class": "a", "size": 1, "level": "low"}],
    "named": {
        "b": {"class": "b", "size": 2, "level": "high", "share": 1.5, "place": "sglang/a.py:7"}
    },
    "sure": False,
    "value": "x",
    "anything": [1, {"a": None}],
    "note": None,
}
WHOLE = Whole(
    "one",
    (Part("a", 1),),
    {"b": Part("b", 2, "high", 1.5, SourcePlace("sglang/a.py", 7))},
    False,
    "x",
    [1, {"a": None}],
)


def test_there_and_back() -> None:
    assert to_data(WHOLE) == DATA
    assert list(to_data(WHOLE)) == list(DATA)
    assert from_data(Whole, DATA) == WHOLE


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "a key that is missing": ({"name": ...}, "$.name", "missing"),
    "an unknown key": ({"more": 1}, "$", "unknown key"),
    "another type": ({"name": 1}, "$.name", "wrong type"),
    "a truth for a number": ({"parts": [{"class": "a", "size": True}]}, "$.parts[0].size", "wrong"),
    "a number as text": ({"parts": [{"class": "a", "size": "1"}]}, "$.parts[0].size", "wrong"),
    "no list": ({"parts": {}}, "$.parts", "wrong type"),
    "no object": ({"named": []}, "$.named", "wrong type"),
    "no object in a list": ({"parts": [1]}, "$.parts[0]", "wrong type"),
    "the field for its key": ({"parts": [{"cls": "a", "size": 1}]}, "$.parts[0].class", "missing"),
    "another type of a renamed key": (
        {"parts": [{"class": 1, "size": 1}]},
        "$.parts[0].class",
        "wrong type",
    ),
    "deeper": ({"named": {"b": {"class": "b"}}}, "$.named.b.size", "missing"),
    "no choice": (
        {"named": {"b": {"class": "b", "size": 1, "level": "x"}}},
        "$.named.b.level",
        "unknown value",
    ),
    "no place": (
        {"parts": [{"class": "b", "size": 1, "place": "a.py"}]},
        "$.parts[0].place",
        "not a place",
    ),
    "no truth": ({"sure": 1}, "$.sure", "wrong type"),
    "no scalar": ({"value": [1]}, "$.value", "wrong type"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_has_its_path(case: str) -> None:
    changes, where, message = WRONG[case]
    data = {k: v for k, v in {**DATA, **changes}.items() if v is not ...}
    with pytest.raises(DataError, match=message) as caught:
        from_data(Whole, data)
    assert caught.value.where == where


def test_records_say_what_they_refuse_below_the_path() -> None:
    data = {**to_data(Serving()), "tp": 4, "ep": 3}
    with pytest.raises(DatasetError, match="has to divide") as caught:
        from_data(Serving, data, "$.models.x", DatasetError)
    assert str(caught.value.where).startswith("$.models.x.")
    assert not isinstance(caught.value, ServingError)


def test_reports_hold_paths_and_errors() -> None:
    @attrs.frozen
    class Report:
        folder: Path
        problems: tuple[FibcoreError, ...]

    error = DatasetError("broken", where="a.json", found="2")
    assert to_data(Report(Path("a/b"), (error,))) == {
        "folder": "a/b",
        "problems": [
            {"error": "DatasetError", "message": "broken", "where": "a.json", "found": "2"}
        ],
    }


def test_text() -> None:
    assert to_text({"ä": [1]}) == '{\n  "ä": [\n    1\n  ]\n}\n'
    assert from_text('{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("text", "where"), [("{", "$.x line 1 column 2"), ('{"a": 1, "a": 2}', "$.x"), ("[NaN]", "$.x")]
)
def test_text_that_is_refused(text: str, where: str) -> None:
    with pytest.raises(DatasetError) as caught:
        from_text(text, "$.x", DatasetError)
    assert caught.value.where == where
