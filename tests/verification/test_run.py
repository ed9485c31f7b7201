"""Running reference tests for evidence, and the status that follows from it."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
import scale_toy as toy

from fibcore.dataset import Dataset
from fibcore.errors import DatasetError, FibcoreError, MissingPackageError, UsageError
from fibcore.testing.shares import thorough
from fibcore.verification import (
    DefinitionResult,
    VerifiedDefinition,
    VerifyReport,
    add_reference_tests,
    evidence,
    verify,
)

pytest.importorskip("torch", reason="torch is not installed")


GPU = {"type": "cuda", "name": "A Big GPU", "capability": [9, 0]}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def generate(dataset: Path, *definitions: Any, plugin: Any = None) -> None:
    toy.write(dataset, *definitions)
    registry = toy.registry(plugin) if plugin is not None else toy.registry()
    add_reference_tests(dataset=dataset, all_=True, registry=registry)


def check(dataset: Path, **options: Any) -> VerifyReport:
    return verify(dataset=dataset, device="cpu", registry=toy.registry(), **options)


def status(dataset: Path, name: str = "scale_k4") -> tuple[str, ...]:
    definition = Dataset(dataset).get(name)
    assert definition is not None
    return tuple(definition.tag_values("status"))


def of(report: VerifyReport, name: str = "scale_k4") -> VerifiedDefinition:
    (found,) = [d for d in report.definitions if d.name == name]
    return found


def put_evidence(folder: Path, definition: Any, result: str = "passed", **changes: Any) -> None:
    """Evidence of a run on a GPU, as the tests write it."""
    truth = {"name": "flashinfer.scale", "kind": "flashinfer", "version": "flashinfer 1"}
    run = {
        "reference_sha256": definition.reference_hash,
        "result": result,
        "device": GPU,
        "ground_truths": [truth],
        "cases": [{"case": "one", "result": result, "ground_truth": "flashinfer.scale"}],
        "properties": [],
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = evidence.to_json(definition.name, definition.op_type, [run])
    (folder / f"{definition.name}.json").write_text(text)


def test_agreement_verifies_and_evidence_is_stable(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    right, wrong = toy.definition("scale_k4"), toy.definition("scale_wrong", body="x * 3.0")
    generate(dataset, right, wrong.with_tags("status:verified", without="status"))
    (dataset / "definitions" / "scale" / "scale_broken.json").write_text("{")
    steps: list[Any] = []
    seen: list[DefinitionResult] = []
    report = check(dataset, progress=lambda *step: steps.append(step), finished=seen.append)
    assert report.exit_code == 1
    assert report.verified == ("scale_k4",)
    assert (report.passed, report.skipped, report.failed) == (7 + 5, 0, 2 + 1)
    assert report.summary.startswith("3 failed, 12 passed")
    assert status(dataset) == ("verified",)
    assert status(dataset, "scale_wrong") == ("unverified",)
    assert of(report).ground_truths == (
        f"sglang Scale.forward_native (sglang 0.9.9, CPU ({platform.machine()}))",
    )
    failures = of(report, "scale_wrong").failures
    assert len(failures) == 2
    assert "differs from the ground truth" in failures[0].message
    assert "scale_broken.json: line 1 column 2: not JSON" in report.broken[0].message
    assert "scale_broken" in str(report.problems[0])
    assert steps == [("running the reference tests", done, 3) for done in range(4)]
    outcomes = {result.name: result.outcome for result in seen}
    assert outcomes == {"scale_k4": "passed", "scale_wrong": "failed", "scale_broken": "failed"}
    json.dumps(report.to_dict())
    reports = dataset / "reports" / "verification"
    assert sorted(p.name for p in reports.iterdir()) == ["scale_k4.json", "scale_wrong.json"]
    (run,) = toy.evidence(reports)["runs"]
    assert run["result"] == "passed"
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in dataset.rglob("*.json")}
    again = check(dataset, definition_name=["scale_k4"])
    assert again.exit_code == 0
    assert not of(again).changed
    assert [d.name for d in again.definitions] == ["scale_k4"]
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in dataset.rglob("*.json")} == before
    assert not list(dataset.rglob("__pycache__"))


def test_modules_of_single_definitions_are_run(dataset: Path) -> None:
    toy.write(dataset, toy.definition("scale_a"), toy.definition("scale_b"))
    add_reference_tests(
        dataset=dataset, definition_name="scale_a", per_definition=True, registry=toy.registry()
    )
    report = check(dataset)
    tested = {d.name: d.passed > 0 for d in report.definitions}
    assert tested == {"scale_a": True, "scale_b": False}


def test_changed_reference_is_no_longer_verified(dataset: Path) -> None:
    definition = toy.definition(tags=("status:verified",))
    generate(dataset, definition)
    put_evidence(dataset / "reports" / "verification", definition)
    report = check(dataset)  # there is no ground truth here; the GPU's evidence counts
    assert report.exit_code == 0
    assert of(report).ground_truths == ("flashinfer.scale (flashinfer 1, A Big GPU)",)
    assert of(report).skipped == 2
    assert status(dataset) == ("verified",)
    changed = toy.definition(tags=("status:verified",), body="FACTOR * x")
    toy.write(dataset, changed)
    report = check(dataset)
    assert status(dataset) == ("unverified",)
    assert of(report).changed
    assert of(report).verified is False
    (run,) = toy.evidence(dataset / "reports" / "verification")["runs"]
    assert run["reference_sha256"] == changed.reference_hash
    assert "SGLang's source was not found" in " ".join(of(report).reasons)
    assert any("flashinfer.scale" in reason for reason in report.skip_reasons)


def test_evidence_of_another_machine(dataset: Path, tmp_path: Path) -> None:
    a, b, c = (toy.definition(f"scale_{x}") for x in "abc")
    generate(dataset, a, b, c)
    put_evidence(tmp_path / "gpu", a)
    put_evidence(tmp_path / "gpu", b, result="failed")
    put_evidence(tmp_path / "gpu", c, reference_sha256="of another reference")
    toy.write_sglang(dataset.parent / "sglang")
    report = check(dataset, evidence_dir=tmp_path / "gpu")
    assert report.verified == ("scale_a", "scale_c")
    # The CPU's run stands beside the GPU's, the weaker beside the stronger.
    runs = toy.evidence(dataset / "reports" / "verification", "scale_a")["runs"]
    assert [run["device"]["type"] for run in runs] == ["cpu", "cuda"]
    assert "its tests failed on A Big GPU" in of(report, "scale_b").reasons
    assert len(toy.evidence(dataset / "reports" / "verification", "scale_c")["runs"]) == 1


def test_broken_evidence_is_a_problem_and_kept(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    generate(dataset, toy.definition("scale_a"), toy.definition("scale_b"))
    path = dataset / "reports" / "verification" / "scale_a.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    report = check(dataset)
    assert report.exit_code == 1
    assert report.verified == ("scale_b",)
    assert "not JSON" in str(report.problems[0])
    assert path.read_text() == "{"


DYING = toy.TEMPLATE.replace(
    '    """Normal numbers."""\n',
    '    """Normal numbers."""\n    import os\n\n    os.kill(os.getpid(), 9)\n',
)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals on Windows")
def test_process_that_dies_takes_its_module_alone(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    dying = toy.ToyPlugin((toy.TORCH_TRUTH,), DYING, op_type="dying")
    healthy = toy.ToyPlugin()
    dead = toy.definition("scale_dead", op_type="dying")
    toy.write(dataset, dead, toy.definition())
    put_evidence(dataset / "reports" / "verification", dead)  # it passed elsewhere once
    registry = toy.registry(dying, healthy)
    add_reference_tests(dataset=dataset, all_=True, registry=registry)
    report = check(dataset)
    assert report.exit_code == 1
    assert report.verified == ("scale_k4",)
    assert "the process that ran" in of(report, "scale_dead").failures[0].message
    assert "signal 9" in str(report.problems[0])


def test_module_that_cannot_be_collected(dataset: Path) -> None:
    generate(dataset, toy.definition())
    (dataset / "tests/references/test_scale.py").write_text("import nothing_of_the_kind\n")
    report = check(dataset)
    assert report.exit_code == 1
    assert "nothing_of_the_kind" in str(report.problems[0])
    assert report.verified == ()


def test_untested_definition_keeps_its_status(dataset: Path) -> None:
    toy.write(dataset, toy.definition(tags=("status:verified",)))
    report = check(dataset)
    assert status(dataset) == ("verified",)
    assert report.exit_code == 1
    assert "have no tests" in str(report.problems[0])
    assert "neither tests nor evidence" in of(report).reasons[0]


def test_stale_evidence_counts_without_tests(dataset: Path) -> None:
    toy.write(dataset, toy.definition(tags=("status:verified",)))
    put_evidence(dataset / "reports" / "verification", toy.definition(body="x + x"))
    report = check(dataset)
    assert status(dataset) == ("unverified",)
    assert of(report).reasons == ("the reference changed since the evidence was made",)


def test_conftest_that_fails_is_an_error(dataset: Path) -> None:
    generate(dataset, toy.definition())
    (dataset / "tests/references/conftest.py").write_text("raise RuntimeError('broken')\n")
    with pytest.raises(FibcoreError, match="pytest could not run") as caught:
        check(dataset)
    assert "broken" in (caught.value.found or "")
    assert status(dataset) == ("unverified",)


def test_missing_torch_is_an_error(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate(dataset, toy.definition())
    monkeypatch.setattr("fibcore.extras.importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match="need pytest and torch"):
        check(dataset)


@pytest.mark.parametrize(
    "options",
    [
        {"device": "tpu"},
        {"tolerance": -1.0},
        {"op_type": ["scael"]},
        {"definition_name": ["scale_k5"]},
        {"evidence_dir": Path("nowhere at all")},
        {"jobs": 0},
        {"memory_bytes": 0},
        {"memory_bytes": "much"},
        {"timeout_s": float("nan")},
        {"jobs": 2, "dask": "127.0.0.1:8786"},
    ],
)
def test_wrong_usage(dataset: Path, options: dict[str, Any]) -> None:
    toy.write(dataset, toy.definition())
    with pytest.raises(UsageError):
        verify(dataset=dataset, registry=toy.registry(), **options)


def test_what_is_no_address_is_wrong_usage(dataset: Path) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed")
    generate(dataset, toy.definition())
    with pytest.raises(UsageError, match="no address"):
        check(dataset, dask="nonsense")


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset"):
        check(tmp_path / "nowhere")


def test_tests_of_which_nothing_changed_are_not_run_again(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    generate(dataset, toy.definition(), toy.definition(name="scale_k8"))
    ended: list[DefinitionResult] = []
    first = check(dataset, finished=ended.append)
    assert [result.unchanged for result in ended] == [False, False]
    ended.clear()
    second = check(dataset, finished=ended.append)
    assert [result.unchanged for result in ended] == [True, True]
    assert (second.passed, second.skipped, second.failed) == (first.passed, first.skipped, 0)
    assert second.skip_reasons == first.skip_reasons
    for name in ("scale_k4", "scale_k8"):
        again, before = of(second, name), of(first, name)
        assert again.unchanged
        assert (again.verified, again.passed, again.skipped, again.ground_truths) == (
            *(before.verified, before.passed, before.skipped, before.ground_truths),
        )
    ended.clear()
    check(dataset, force=True, finished=ended.append)
    assert [result.unchanged for result in ended] == [False, False]


@thorough
def test_what_tests_depend_on_has_them_run_again(dataset: Path) -> None:
    generate(dataset, toy.definition())

    def unchanged(**options: Any) -> bool:
        (found,) = check(dataset, **options).definitions
        return found.unchanged

    assert not unchanged()
    assert unchanged()
    assert not unchanged(tolerance=0.5)
    module = next((dataset / "tests" / "references").glob("test_*.py"))
    module.write_text(module.read_text() + "\n# another line\n")
    assert not unchanged()
    conftest = module.with_name("conftest.py")
    conftest.write_text(conftest.read_text() + "\n# another line\n")
    assert not unchanged()
    assert unchanged()
    toy.write(dataset, toy.definition(constraints=("n > 0",)))
    assert not unchanged()


def test_what_failed_is_tried_again(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    generate(dataset, toy.definition(body="x * FACTOR + 1"))
    assert check(dataset).failed
    (again,) = check(dataset).definitions
    assert again.failed
    assert not again.unchanged
