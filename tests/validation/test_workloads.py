"""`fibcore validate` over workloads: what is right, and every way to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pick_toy as toy
import pytest
from safetensors.numpy import save_file

import fibcore
from fibcore.validation.problems import ValidationProblem
from fibcore.validation.report import ValidationReport

FILE = "workloads/pick/pick_w4.jsonl"
SOLUTION = "solutions/baseline/pick/pick_w4/torch_pick__pick_w4.json"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, toy.definition(), toy.definition("pick_w8", 8))
    fibcore.add_workloads(dataset=root, all_=True, registry=toy.registry())
    fibcore.add_solutions(dataset=root, all_=True, registry=toy.registry())
    return root


def validate(dataset: Path, **options: Any) -> ValidationReport:
    return fibcore.validate(dataset, registry=toy.registry(), **options)


def problems(dataset: Path) -> list[ValidationProblem]:
    return [p for p in validate(dataset).problems if not p.path.startswith("definitions/")]


def test_what_fibcore_writes_is_right(dataset: Path) -> None:
    assert problems(dataset) == []
    counts = validate(dataset).counts
    assert (counts["workloads"], counts["solutions"]) == (10, 4)


def test_a_choice_of_definitions_is_a_choice_of_their_files(dataset: Path) -> None:
    (dataset / FILE).write_text("{}\n")
    (dataset / SOLUTION).write_text("{}\n")
    report = validate(dataset, definition_name=["pick_w8"])
    assert report.ok
    assert (report.workloads, report.solutions) == (5, 2)
    report = validate(dataset, op_type=["pick"])
    assert {p.path for p in report.errors} == {FILE, SOLUTION}


Change = Callable[[dict[str, Any]], object]


def tensor(values: list[float], dtype: str = "int32") -> Change:
    """Put another tensor in the place of the offsets."""

    def change(line: dict[str, Any]) -> None:
        line["blob"] = np.array(values, dtype=dtype)

    return change


def put(*path: str, value: object) -> Change:
    """Set what stands at a path of the line."""

    def change(line: dict[str, Any]) -> None:
        for key in path[:-1]:
            line = line[key]
        line[path[-1]] = value

    return change


WORKLOADS: dict[str, tuple[Change, str, str]] = {
    "another definition": (put("definition", value="pick_w8"), "$.definition", "disagree"),
    "a solution": (put("solution", value="x"), "$.solution", "a workload has none"),
    "no workload": (put("workload", value=[]), "$", "not a workload"),
    "no uuid": (put("workload", "uuid", value=""), "$.workload.uuid", "missing"),
    "no axes": (put("workload", "axes", value=[]), "$.workload.axes", "missing"),
    "an axis too few": (
        lambda line: line["workload"]["axes"].pop("rows"),
        "$.workload.axes",
        "not the var axes",
    ),
    "an axis too many": (put("workload", "axes", "x", value=1), "$.workload.axes", "not the var"),
    "a negative axis": (
        put("workload", "axes", "rows", value=-1),
        "$.workload.axes.rows",
        "no size",
    ),
    "a const axis of another size": (
        put("workload", "axes", "width", value=5),
        "$.workload.axes.width",
        "a const axis",
    ),
    "an unknown input": (
        put("workload", "inputs", "x", value={"type": "random"}),
        "$.workload.inputs.x",
        "no such input",
    ),
    "an unknown kind": (
        put("workload", "inputs", "table", value={"type": "zeros"}),
        "$.workload.inputs.table",
        "unknown kind",
    ),
    "a scalar for a tensor": (
        put("workload", "inputs", "table", value={"type": "scalar", "value": 1}),
        "$.workload.inputs.table",
        "not what the definition has",
    ),
    "a scalar that is text": (
        put("workload", "inputs", "scale", "value", value="1"),
        "$.workload.inputs.scale",
        "not what the definition has",
    ),
    "no tensor key": (
        put("workload", "inputs", "indptr", "tensor_key", value=""),
        "$.workload.inputs.indptr.tensor_key",
        "missing",
    ),
    "another tensor key": (
        put("workload", "inputs", "indptr", "tensor_key", value="x"),
        "$.workload.inputs.indptr.tensor_key",
        "no such tensor",
    ),
    "no file": (
        put("workload", "inputs", "indptr", "path", value="blob/x.safetensors"),
        "$.workload.inputs.indptr.path",
        "no such file",
    ),
    "a file outside": (
        put("workload", "inputs", "indptr", "path", value="../x.safetensors"),
        "$.workload.inputs.indptr.path",
        "leads out of the dataset",
    ),
    "no safetensors": (
        put("workload", "inputs", "indptr", "path", value=FILE),
        "$.workload.inputs.indptr.path",
        "not a safetensors file",
    ),
    "another shape": (tensor([0, 8]), "$.workload.inputs.indptr", "another shape"),
    "another dtype": (tensor([0, 1, 8], "int64"), "$.workload.inputs.indptr", "another dtype"),
    "a broken constraint": (tensor([0, 1, 9]), "", "a constraint does not hold"),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_wrong_workload_is_found(dataset: Path, name: str) -> None:
    change, place, message = WORKLOADS[name]
    lines = (dataset / FILE).read_text().splitlines()
    line = json.loads(lines[1])
    change(line)
    if "blob" in line:
        array = line.pop("blob")
        line["workload"]["inputs"]["indptr"]["path"] = "blob/other.safetensors"
        save_file({"indptr": array}, dataset / "blob/other.safetensors")
    lines[1] = json.dumps(line)
    (dataset / FILE).write_text("\n".join(lines) + "\n")
    (problem,) = problems(dataset)
    assert problem.severity == "error"
    assert problem.path == FILE
    assert problem.place == f"line 2 {place}".rstrip()
    assert message in problem.message


def test_lines_that_are_no_json_and_files_that_are_no_text(dataset: Path) -> None:
    path = dataset / FILE
    path.write_text(path.read_text() + "{\n\n")
    (problem,) = problems(dataset)
    assert (problem.place, problem.message) == ("line 6", "not JSON")
    path.write_bytes(b"\xff\n")
    assert [p.message for p in problems(dataset)] == ["not UTF-8"]


def test_two_workloads_of_one_uuid(dataset: Path) -> None:
    path = dataset / FILE
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    (problem,) = problems(dataset)
    assert problem.place == "line 6 $.workload.uuid"
    assert problem.found == f"{FILE} line 1"


def test_random_offsets_are_a_warning(dataset: Path) -> None:
    path = dataset / FILE
    line = json.loads(path.read_text().splitlines()[0])
    line["workload"]["inputs"]["indptr"] = {"type": "random"}
    path.write_text(json.dumps(line) + "\n")
    (problem,) = problems(dataset)
    assert problem.severity == "warning"


def test_an_input_that_is_missing_is_an_error(dataset: Path) -> None:
    path = dataset / FILE
    line = json.loads(path.read_text().splitlines()[0])
    del line["workload"]["inputs"]["indptr"]
    path.write_text(json.dumps(line) + "\n")
    (problem,) = (p for p in problems(dataset) if p.severity == "error")
    assert (problem.message, problem.expected) == ("an input is missing", "indptr")


@pytest.mark.parametrize(("dtype", "warnings"), [("int16", 1), ("int8", 0)])
def test_random_bytes_are_values(dataset: Path, dtype: str, warnings: int) -> None:
    """Numbers of few bits are packed into int8, and int8 is no dtype of offsets."""
    (path,) = (dataset / "definitions").rglob("pick_w4.json")
    data = json.loads(path.read_text())
    data["inputs"]["indptr"]["dtype"] = dtype
    path.write_text(json.dumps(data))
    line = json.loads((dataset / FILE).read_text().splitlines()[0])
    line["workload"]["inputs"]["indptr"] = {"type": "random"}
    (dataset / FILE).write_text(json.dumps(line) + "\n")
    found = [p.message for p in problems(dataset) if p.path == FILE]
    assert sum("random integers" in message for message in found) == warnings


def test_a_file_of_no_definition(dataset: Path) -> None:
    for name in ("workloads/pick/pick_w5.jsonl", "workloads/other/pick_w4.jsonl"):
        (dataset / name).parent.mkdir(exist_ok=True)
        (dataset / name).write_text("")
        assert [p.path for p in problems(dataset)] == [name]
        (dataset / name).unlink()
