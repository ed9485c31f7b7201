"""The converter: plain data of records, what is refused and at which JSON path."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from fibcore.errors import DatasetError, FibcoreError, ServingError
from fibcore.model.forms import DataError
from fibcore.model.json import (
    JsonError,
    configure,
    decode,
    from_data,
    from_text,
    to_data,
    to_text,
)
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 101 + "]" * 101, "nested too deeply: more than 100 levels"),
        ('{"a":[' * 60 + "1" + "]}" * 60, "nested too deeply"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a": ' + "1" * 301 + "}", "a number that no float holds: an integer of 301 digits"),
        ('{"a": -' + "1" * 5000 + "}", "a number that no float holds"),
        (r'{"a": [1, {"b": "\udc80"}]}', r"$.a[1].b: not text that UTF-8 can hold: '\udc80'"),
        (r'{"a": {"\ud800": 1}}', r"not text that UTF-8 can hold: '\ud800'"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
def test_json_beyond_all_measure_is_refused(text: str, message: str, strict: bool) -> None:
    with pytest.raises(JsonError) as caught:
        decode(text, strict=strict)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "lax", "message"),
    [
        ('{"a": 1, "a": 2}', {"a": 2}, "a key stands twice in one object: a"),
        ('{"a": Infinity}', {"a": float("inf")}, "not JSON: Infinity"),
        ('{"a": 1e400}', {"a": float("inf")}, "a number that no float holds: 1e400"),
    ],
)
def test_what_json_lacks_is_refused_where_it_is_strict(
    text: str, lax: object, message: str
) -> None:
    assert decode(text) == lax
    with pytest.raises(JsonError, match=message):
        decode(text, strict=True)


def test_json_within_bounds_is_what_json_loads_gives() -> None:
    whole = "[" * 100 + r'"😀é\n", 1e308, ' + "9" * 300 + ", null" + "]" * 100
    assert decode(whole, strict=True) == json.loads(whole)
    assert decode(whole.encode()) == json.loads(whole)
    with pytest.raises(UnicodeDecodeError):
        decode(b'"\xff"')
    with pytest.raises(json.JSONDecodeError):
        decode("{")


def test_a_key_that_stands_twice_among_many_takes_no_longer_than_the_rest() -> None:
    keys = ",".join(f'"k{n}":1' for n in range(200_000))
    began = time.process_time()
    with pytest.raises(JsonError, match="twice in one object: k0"):
        decode("{" + keys + ',"k0":2}', strict=True)
    assert time.process_time() - began < 5
