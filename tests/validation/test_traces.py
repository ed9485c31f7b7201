"""Traces and baselines: what flashinfer-bench's own validation says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pick_toy as toy
import pytest

import fibcore
from fibcore.processes.machine import Gpu

TRACES = "traces/pick/pick_w4.jsonl"
DEFINITION = "definitions/pick/pick_w4.json"
BASELINE = "torch_pick__pick_w4"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, toy.definition())
    fibcore.add_workloads(dataset=root, all_=True, registry=toy.registry())
    fibcore.add_solutions(dataset=root, all_=True, registry=toy.registry())
    return root


def found(dataset: Path, check: str = "trace", **options: Any) -> list[tuple[str, str, str]]:
    report = fibcore.validate(dataset, registry=toy.registry(), checks=check, **options)
    assert {p.check for p in report.problems} <= {check}
    return [(p.severity, f"{p.path} {p.place or ''}".strip(), p.message) for p in report.problems]


def traces(dataset: Path, **changes: Any) -> list[dict[str, Any]]:
    """A trace of the baseline for every workload, as flashinfer-bench would write it."""
    text = (dataset / "workloads/pick/pick_w4.jsonl").read_text()
    evaluation = {"status": "PASSED", "log": ""}
    return [
        {**json.loads(line), "solution": BASELINE, "evaluation": evaluation, **changes}
        for line in text.splitlines()
    ]


def write(dataset: Path, lines: list[Any], file: str = TRACES) -> None:
    (dataset / file).parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (dataset / file).write_text(text)


def test_a_definition_without_traces_is_a_warning(dataset: Path) -> None:
    assert found(dataset) == [("warning", DEFINITION, "no traces")]


def test_nothing_is_said_after_a_run_that_passed(dataset: Path) -> None:
    write(dataset, traces(dataset))
    assert found(dataset) == []
    assert fibcore.validate(dataset, registry=toy.registry()).ok


def test_workloads_without_a_trace_are_counted(dataset: Path) -> None:
    write(dataset, traces(dataset)[1:])
    assert found(dataset) == [("warning", TRACES, "the traces do not cover all workloads")]


def test_what_did_not_pass_covers_nothing(dataset: Path) -> None:
    first, *others = traces(dataset)
    first["evaluation"] = {"status": "INCORRECT_NUMERICAL"}
    write(dataset, [first, *others])
    assert [message for _, _, message in found(dataset)] == [
        "it did not pass",
        "the traces do not cover all workloads",
    ]


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"definition": "other"}, "$.definition", "a trace of another definition"),
        ({"solution": "nobody_s"}, "$.solution", "no such solution"),
        ({"solution": None}, "$.solution", "a trace has a solution"),
        ({"evaluation": None}, "$.evaluation", "a trace has a evaluation"),
        ({"workload": {}}, "$.workload.uuid", "missing or of another type"),
    ],
)
def test_what_is_no_trace_of_the_definition_is_an_error(
    dataset: Path, changes: dict[str, Any], place: str, message: str
) -> None:
    good = traces(dataset)
    write(dataset, [*good, {**good[0], **changes}])
    where = f"{TRACES} line {len(good) + 1} {place}"
    assert found(dataset) == [("error", where, message.replace("a evaluation", "an evaluation"))]


def test_lines_that_are_no_json(dataset: Path) -> None:
    write(dataset, [*traces(dataset), "{", "[]"])
    assert [message for _, _, message in found(dataset)] == ["not JSON", "a trace is a JSON object"]


def test_another_s_solution_is_no_baseline(dataset: Path) -> None:
    fibcore.add_solutions(dataset=dataset, all_=True, author="me", registry=toy.registry())
    folder = dataset / "solutions/me/pick/pick_w4"
    (folder / f"{BASELINE}.json").rename(folder / "mine.json")
    write(dataset, [*traces(dataset), {**traces(dataset)[0], "solution": "mine"}])
    ((severity, _, message),) = found(dataset)
    assert (severity, message) == ("warning", "the solution is no baseline")


def test_traces_of_no_definition(dataset: Path) -> None:
    write(dataset, traces(dataset))
    write(dataset, [], "traces/pick/gone.jsonl")
    message = "no usable definition belongs to this file"
    assert found(dataset) == [("error", "traces/pick/gone.jsonl", message)]
    assert found(dataset, op_type="pick") == []


def test_a_definition_without_a_baseline_is_a_warning(dataset: Path) -> None:
    assert found(dataset, "baseline") == []
    assert found(dataset, "baseline", baseline_author="flashinfer") == [
        ("warning", DEFINITION, "no baseline solution")
    ]
    (dataset / "solutions/baseline").rename(dataset / "solutions/flashinfer")
    assert found(dataset, "baseline") == [("warning", DEFINITION, "no baseline solution")]
    assert found(dataset, "baseline", baseline_author="flashinfer") == []


def test_a_benchmark_needs_a_gpu(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibcore.validation.benchmark.find_gpus", tuple)
    assert found(dataset, "benchmark") == [("warning", "solutions", "no benchmark was run")]
    assert found(dataset, "benchmark", disable_gpu=True) == []


def test_a_benchmark_leaves_out_what_needs_another_gpu_or_package(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    gpus = [Gpu("0", "A GPU", 1, (8, 0))]
    monkeypatch.setattr("fibcore.validation.benchmark.missing", lambda *n: {*n} & {"flashinfer"})
    monkeypatch.setattr("fibcore.validation.benchmark.find_gpus", lambda: tuple(gpus))

    def run(_: Path, __: list[str], solutions: list[str]) -> tuple[()]:
        ran.append(solutions)
        return ()

    monkeypatch.setattr("fibcore.validation.benchmark._run", run)
    assert found(dataset, "benchmark") == []
    monkeypatch.setattr("fibcore.validation.benchmark.missing", lambda *_: ())
    assert found(dataset, "benchmark") == []
    gpus[0] = Gpu("0", "A GPU", 1, (9, 0))
    assert found(dataset, "benchmark") == []
    assert ran == [[BASELINE], [BASELINE], ["flashinfer_pick__pick_w4", BASELINE]]
