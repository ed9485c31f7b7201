"""The list of a dataset's definitions: what is there for each, and what is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pick_toy as toy
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.cli import cli
from fibcore.errors import DatasetError, UsageError
from fibcore.model.definition import Definition
from fibcore.reports.listing import ListReport


def run_of(definition: Definition, result: str, **changes: Any) -> dict[str, Any]:
    number = {"elements": 4, "outside": 0, "max_abs_error": 0.0, "max_rel_error": 0.0}
    outputs = {"out": {**number, "cosine_similarity": 1.0}}
    return {
        "reference_sha256": definition.reference_hash,
        "result": result,
        "device": {"type": "cpu", "name": "CPU"},
        "ground_truths": [{"name": "torch rows", "kind": "torch", "version": "2"}],
        "tests": {"passed": 2, "failed": 0, "skipped": 0},
        "cases": [{"case": c, "result": result, "outputs": outputs} for c in ("a", "b")],
        **changes,
    }


def prove(root: Path, definition: Definition, *runs: dict[str, Any]) -> None:
    path = root / "reports" / "verification" / f"{definition.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"definition": definition.name, "op_type": definition.op_type, "runs": list(runs)}
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    made = {
        name: toy.definition(f"pick_{name}", tags=("status:unverified", f"model:{model}"))
        for name, model in (("good", "a"), ("old", "a"), ("bad", "b"), ("new", "b"))
    }
    toy.write(tmp_path, *made.values())
    prove(tmp_path, made["good"], run_of(made["good"], "passed"))
    prove(tmp_path, made["old"], run_of(made["old"], "passed", reference_sha256="0" * 64))
    prove(tmp_path, made["bad"], run_of(made["bad"], "failed"))
    fibcore.add_workloads(dataset=tmp_path, registry=toy.registry(), definition_name="pick_good")
    fibcore.add_solutions(dataset=tmp_path, registry=toy.registry(), definition_name="pick_good")
    return tmp_path


def listed(dataset: Path, **asked: Any) -> ListReport:
    return fibcore.list(dataset=dataset, registry=toy.registry(), **asked)


def names(report: ListReport) -> list[str]:
    return [row.name.removeprefix("pick_") for row in report.definitions]


def test_each_definition_has_what_is_there_for_it(dataset: Path) -> None:
    report = listed(dataset)
    assert report.exit_code == 0
    assert report.total == 4
    statuses = {row.name.removeprefix("pick_"): row.status for row in report.definitions}
    assert statuses == {"good": "verified", "old": "outdated", "bad": "failed", "new": "unverified"}
    good = next(row for row in report.definitions if row.name == "pick_good")
    assert good.models == ("a",)
    assert (good.tests, good.workloads) == (2, 5)
    assert good.agrees_with == ("torch rows (2, CPU)",)
    assert len(good.baselines) == good.solutions > 0
    new = next(row for row in report.definitions if row.name == "pick_new")
    assert (new.tests, new.workloads, new.baselines, new.solutions) == (0, 0, (), 0)


def test_definitions_of_a_model_a_status_an_op_type(dataset: Path) -> None:
    assert names(listed(dataset, model_name="b")) == ["bad", "new"]
    assert names(listed(dataset, status=["verified", "failed"])) == ["bad", "good"]
    assert names(listed(dataset, op_type="pick", model_name="a", status="outdated")) == ["old"]
    nothing = listed(dataset, model_name="b", status="verified")
    assert (names(nothing), nothing.exit_code) == ([], 1)


@pytest.mark.parametrize(
    "asked", [{"op_type": "pck"}, {"model_name": "c"}, {"status": "verfied"}], ids=str
)
def test_what_is_not_there_is_refused_with_the_nearest(
    dataset: Path, asked: dict[str, str]
) -> None:
    with pytest.raises(UsageError) as caught:
        listed(dataset, **asked)
    assert caught.value.expected
    near = {"op_type": "pick", "model_name": "a", "status": "verified"}
    assert near[next(iter(asked))] in caught.value.expected


def test_a_folder_that_is_not_there_and_an_empty_one_are_no_success(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        listed(tmp_path / "none")
    assert listed(tmp_path).exit_code == 1


def test_broken_evidence_is_told(dataset: Path) -> None:
    (dataset / "reports" / "verification" / "pick_good.json").write_text("{")
    report = listed(dataset)
    assert report.exit_code == 1
    assert any("pick_good.json" in str(problem) for problem in report.problems)
    assert {row.status for row in report.definitions if row.name == "pick_good"} == {"unverified"}


def test_the_command_prints_a_row_each_and_one_document(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Callable[..., Any] = toy.registry
    monkeypatch.setattr("fibcore.ops.registry.load_plugins", lambda **_: load())
    result = CliRunner().invoke(cli, ["list", "--dataset", str(dataset)])
    assert result.exit_code == 0, result.output
    assert "1 verified, 1 failed, 1 outdated, 1 unverified" in result.stdout
    assert "pick_old" in result.stdout
    some = CliRunner().invoke(cli, ["list", "--status", "failed", "--dataset", str(dataset)])
    assert "1 of 4 definitions" in some.stdout
    told = CliRunner().invoke(cli, ["list", "--json", "--dataset", str(dataset)])
    data = json.loads(told.stdout)
    assert [row["name"] for row in data["definitions"]] == [
        *("pick_bad", "pick_good", "pick_new", "pick_old")
    ]


def test_a_report_cannot_be_changed(dataset: Path) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        listed(dataset).total = 5  # type: ignore[misc]
