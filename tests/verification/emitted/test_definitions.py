"""Definitions: what the tests need of a file, and the reference's function."""

from __future__ import annotations

import json
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from fibcore.verification.emitted.definitions import load_definition, load_run
from fibcore.verification.emitted.errors import BrokenDefinitionError

RIGHT = {
    "name": "scale_k4",
    "op_type": "scale",
    "axes": {"n": {"type": "var"}},
    "inputs": {"x": {"shape": ["n"], "dtype": "float32"}, "s": {"shape": None, "dtype": "int32"}},
    "outputs": {"y": {"shape": ["n"], "dtype": "float32"}},
    "reference": "def run(x, s):\n    return x * s\n",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "scale").mkdir()
    return tmp_path / "scale" / "scale_k4.json"


def test_right(path: Path) -> None:
    path.write_text(json.dumps(RIGHT))
    assert load_definition(path) == RIGHT


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "other"}, "$.name: expected the file's name, found 'other'"),
        ({"name": None}, "$.name: expected a string"),
        ({"op_type": "other"}, "$.op_type: expected the folder's name, 'scale'"),
        ({"axes": []}, "$.axes: expected an object"),
        ({"outputs": {}}, "$.outputs: expected at least one output"),
        ({"outputs": {"y": 1}}, "$.outputs.y: expected an object"),
        ({"outputs": {"y": {"shape": []}}}, "$.outputs.y.dtype: expected a string"),
        (
            {"outputs": {"y": {"dtype": "int8", "shape": "n"}}},
            "$.outputs.y.shape: expected a list",
        ),
        (
            {"outputs": {"y": {"dtype": "int8", "shape": ["m"]}}},
            "$.outputs.y.shape: no such axis: 'm'",
        ),
        ({"reference": "def run(:"}, "$.reference line 1: "),
        ({"reference": "run = 1"}, "$.reference: no top-level function run"),
        (
            {"reference": "def run(s, x): ..."},
            "$.reference: run takes (s, x), expected (x, s)",
        ),
    ],
)
def test_wrong(path: Path, changes: dict[str, Any], said: str) -> None:
    path.write_text(json.dumps({**RIGHT, **changes}))
    with pytest.raises(BrokenDefinitionError, match=re.escape(f"{path}: {said}")):
        load_definition(path)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{\n  "name": oops', "line 2 column 11: not JSON"),
        (b"[]", "$: expected an object"),
        (b"\xff", "cannot be read"),
    ],
)
def test_no_definition_at_all(path: Path, raw: bytes, said: str) -> None:
    path.write_bytes(raw)
    with pytest.raises(BrokenDefinitionError, match=re.escape(said)):
        load_definition(path)


def test_no_file(path: Path) -> None:
    with pytest.raises(BrokenDefinitionError, match="cannot be read"):
        load_definition(path)


def test_run_has_a_namespace_of_its_own() -> None:
    one = load_run({"name": "one", "reference": "N = 1\ndef run():\n    return N, __name__\n"})
    two = load_run({"name": "two", "reference": "N = 2\ndef run():\n    return N, __name__\n"})
    assert one() == (1, "reference_of_one")
    assert two() == (2, "reference_of_two")


def test_line_of_the_reference_is_in_a_traceback() -> None:
    run = load_run({"name": "raises", "reference": "def run():\n    return 1 / 0\n"})
    with pytest.raises(ZeroDivisionError) as caught:
        run()
    assert "return 1 / 0" in "".join(traceback.format_exception(caught.value))


def test_last_run_is_the_one_that_holds(path: Path) -> None:
    reference = "def run(): ...\ndef run(x, s):\n    return 2\n"
    path.write_text(json.dumps({**RIGHT, "reference": reference}))
    assert load_run(load_definition(path))(0, 0) == 2
