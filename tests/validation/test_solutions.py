"""`fibcore validate` over solutions: every way to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pick_toy as toy
import pytest

import fibcore
from fibcore.validation.problems import ValidationProblem

SOLUTION = "solutions/baseline/pick/pick_w4/torch_pick__pick_w4.json"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, toy.definition(), toy.definition("pick_w8", 8))
    fibcore.add_workloads(dataset=root, all_=True, registry=toy.registry())
    fibcore.add_solutions(dataset=root, all_=True, registry=toy.registry())
    return root


def problems(dataset: Path) -> list[ValidationProblem]:
    report = fibcore.validate(dataset, registry=toy.registry(), checks="solution")
    return [p for p in report.problems if not p.path.startswith("definitions/")]


def put(*path: str, value: object) -> Change:
    """Set what stands at a path of the file."""

    def change(data: dict[str, Any]) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


SOLUTIONS: dict[str, tuple[Change, str | None, str]] = {
    "no name": (put("name", value=""), "$.name", "missing"),
    "no author": (put("author", value=3), "$.author", "missing"),
    "no entry point": (put("spec", value={}), "$.spec.entry_point", "missing"),
    "no sources": (put("sources", value=[]), "$.sources", "missing"),
    "a source outside": (
        put("sources", value=[{"path": "../main.py", "content": "x"}]),
        "$.sources",
        "missing",
    ),
    "an unknown language": (put("spec", "language", value="c"), "$.spec.language", "unknown"),
    "an unknown definition": (put("definition", value="x"), "$.definition", "no such definition"),
    "another author": (put("author", value="me"), None, "not where its fields say"),
    "another file": (
        put("spec", "entry_point", value="kernel.py::run"),
        "$.spec.entry_point",
        "no such source file",
    ),
    "no Python": (
        put("sources", value=[{"path": "main.py", "content": "def run(:"}]),
        "$.sources main.py",
        "does not parse",
    ),
    "outputs to fill": (
        put("spec", "destination_passing_style", value=True),
        "$.sources main.py",
        "another number of parameters",
    ),
}


@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_wrong_solution_is_found(dataset: Path, name: str) -> None:
    change, place, message = SOLUTIONS[name]
    data = json.loads((dataset / SOLUTION).read_text())
    change(data)
    (dataset / SOLUTION).write_text(json.dumps(data))
    (problem,) = problems(dataset)
    assert (problem.path, problem.place) == (SOLUTION, place)
    assert message in problem.message


def test_solutions_that_are_no_json_or_share_a_name(dataset: Path) -> None:
    text = (dataset / SOLUTION).read_text()
    (dataset / SOLUTION).write_text("{")
    assert [p.message for p in problems(dataset)] == ["not JSON"]
    (dataset / SOLUTION).write_text("[]")
    assert [p.message for p in problems(dataset)] == ["a solution is a JSON object"]
    (dataset / SOLUTION).write_text(text)
    (dataset / "solutions/copy.json").write_text(text)
    assert {p.message for p in problems(dataset)} == {
        *("another solution has this name", "not where its fields say")
    }
