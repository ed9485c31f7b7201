"""The definitions of an op type with all that is to be run of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fibcore.verification.emitted import subjects as emitted
from fibcore.verification.emitted.subjects import Subject, subjects

REFERENCE = "def run(x):\n    return x\n"


def definition(name: str) -> dict[str, Any]:
    spec = {"shape": ["n"], "dtype": "float32"}
    return {
        "name": name,
        "op_type": "scale",
        "axes": {"n": {"type": "var"}},
        "inputs": {"x": spec},
        "outputs": {"y": spec},
        "reference": REFERENCE,
    }


def check(*_: object) -> None: ...


def module(cases: Any = lambda _: [{"id": "one"}, {"id": "two"}]) -> Any:
    """A test module as it is generated."""
    made: Any = ModuleType("test_scale")
    made.__file__ = f"test_scale_{id(made)}.py"
    made.OP_TYPE = "scale"
    made.DEFINITIONS = {"scale_a": {"ground_truths": (), "tolerance": None}}
    made.PROPERTIES = [check]
    made.cases = cases
    return made


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(emitted, "DATASET", tmp_path)
    folder = tmp_path / "definitions" / "scale"
    folder.mkdir(parents=True)
    for name in ("scale_b", "scale_a"):
        (folder / f"{name}.json").write_text(json.dumps(definition(name)))
    (folder / "scale_c.json").write_text("{")
    return tmp_path


@pytest.mark.usefixtures("dataset")
def test_every_file_is_a_subject() -> None:
    a, b, c = subjects(module())
    assert [s.name for s in (a, b, c)] == ["scale_a", "scale_b", "scale_c"]
    assert a.entry == {"ground_truths": (), "tolerance": None}
    assert b.entry is None
    assert a.broken is None
    assert "not JSON" in (c.broken or "")
    assert [case["id"] for case in a.cases] == ["one", "two"]
    assert a.expected_tests == 1 + 2 * 2
    assert c.expected_tests == 1


@pytest.mark.usefixtures("dataset")
def test_files_are_read_once() -> None:
    one = module()
    assert subjects(one) is subjects(one)


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (lambda _: [], "expected cases with unique ids, found []"),
        (lambda _: [{"id": "x"}, {"id": "x"}], "found ['x', 'x']"),
        (lambda _: [{"id": 1}], "found [1]"),
        (lambda _: [{}], "KeyError: 'id'"),
        (lambda definition: definition["none"], "KeyError: 'none'"),
    ],
)
def test_cases_that_cannot_be_used(cases: Any, said: str) -> None:
    subject = subjects(module(cases))[0]
    assert subject.broken is not None
    assert subject.broken.startswith("cases() of the template: ")
    assert said in subject.broken
    assert subject.cases == ()


@pytest.mark.usefixtures("dataset")
def test_cases_cannot_change_a_definition() -> None:
    def spoils(given: dict[str, Any]) -> list[dict[str, str]]:
        given["reference"] = "spoilt"
        return [{"id": "one"}]

    subject = subjects(module(spoils))[0]
    assert subject.definition is not None
    assert subject.definition["reference"] == REFERENCE


def test_record(dataset: Path) -> None:
    a, _, c = subjects(module())
    assert a.record("property", case="one") == {
        "dataset": str(emitted.DATASET),
        "definition": "scale_a",
        "op_type": "scale",
        "reference_sha256": hashlib.sha256(REFERENCE.encode()).hexdigest(),
        "expected_tests": 5,
        "kind": "property",
        "case": "one",
    }
    assert c.record("definition")["expected_tests"] is None
    assert a.record("definition")["dataset"] == str(dataset)


def test_properties_may_be_missing() -> None:
    made = module()
    del made.PROPERTIES
    assert Subject(Path("scale_a.json"), made, None, None, ({"id": "x"},)).expected_tests == 2
