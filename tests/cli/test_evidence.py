"""`--evidence DIR`: evidence of another machine, from the command line to the verification."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fibcore.cli import cli
from fibcore.model.definition import Definition, const, tensor, var
from fibcore.verification import VerifyReport, verify

DEFINITION = Definition(
    name="toy_n4",
    op_type="toy",
    axes={"batch": var(), "n": const(4)},
    inputs={"x": tensor("batch n", "float32")},
    outputs={"y": tensor("batch n", "float32")},
    reference="def run(x):\n    return x\n",
    tags=("status:unverified",),
)
RUN = {
    "reference_sha256": DEFINITION.reference_hash,
    "result": "passed",
    "device": {"type": "cuda", "name": "Some GPU", "capability": [9, 0]},
    "software": {"python": "3.12", "torch": "2.11", "system": "Linux"},
    "ground_truths": [{"name": "flashinfer.toy", "kind": "flashinfer", "version": "flashinfer 1"}],
    "tests": {"passed": 1, "failed": 0, "skipped": 0},
    "cases": [{"case": "one", "result": "passed", "ground_truth": "flashinfer.toy"}],
    "properties": [],
}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "ds" / "definitions" / "toy" / "toy_n4.json"
    path.parent.mkdir(parents=True)
    path.write_text(DEFINITION.to_json())
    return tmp_path / "ds"


def evidence(folder: Path, run: dict[str, object]) -> Path:
    folder.mkdir()
    data = {"definition": "toy_n4", "op_type": "toy", "runs": [run]}
    (folder / "toy_n4.json").write_text(json.dumps(data))
    return folder


def status(dataset: Path) -> tuple[str, ...]:
    text = (dataset / "definitions" / "toy" / "toy_n4.json").read_text()
    return Definition.from_json(text).tag_values("status")


def test_evidence_of_the_same_reference_counts(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="reference tests need torch")
    folder = evidence(tmp_path / "gpu", RUN)
    CliRunner().invoke(cli, ["verify", "--dataset", str(dataset), "--evidence", str(folder)])
    assert status(dataset) == ("verified",)
    assert (dataset / "reports" / "verification" / "toy_n4.json").is_file()


def test_evidence_of_another_reference_does_not(dataset: Path, tmp_path: Path) -> None:
    folder = evidence(tmp_path / "gpu", {**RUN, "reference_sha256": "0" * 64})
    CliRunner().invoke(cli, ["verify", "--dataset", str(dataset), "--evidence", str(folder)])
    assert status(dataset) == ("unverified",)


def test_a_folder_that_is_not_there(dataset: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    result = CliRunner().invoke(cli, ["verify", "--dataset", str(dataset), "--evidence", missing])
    assert result.exit_code == 2
    assert "--evidence" in result.output


def test_the_evidence_in_the_repository_is_readable() -> None:
    folder = Path(__file__).parents[2] / "data" / "evidence"
    files = sorted(folder.glob("*.json"))
    assert files
    for path in files:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        assert runs
        for run in runs:
            assert run["result"] == "passed"
            assert run["device"]["type"] == "cuda"


def test_the_api_takes_it(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="reference tests need torch")
    report = verify(dataset=dataset, evidence_dir=evidence(tmp_path / "gpu", RUN))
    assert isinstance(report, VerifyReport)
    assert [d.verified for d in report.definitions] == [True]
