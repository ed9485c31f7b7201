"""Results of tests, collected and written as evidence."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fibcore.verification.emitted.places import DATASET
from fibcore.verification.emitted.recorder import Recorder


def report(kind: str = "definition", **changes: Any) -> Any:
    """A report of pytest, with what a test has recorded."""
    record = {
        "dataset": str(DATASET),
        "definition": "scale_a",
        "op_type": "scale",
        "reference_sha256": "a",
        "expected_tests": 2,
        "kind": kind,
        "case": "one",
        "device": {"type": "cpu", "name": "CPU"},
        "software": {},
        **changes.pop("record", {}),
    }
    fields = {"when": "call", "outcome": "passed", "nodeid": "test", "longrepr": None, **changes}
    return SimpleNamespace(
        **fields,
        skipped=fields["outcome"] == "skipped",
        failed=fields["outcome"] == "failed",
        longreprtext=str(fields["longrepr"]),
        user_properties=[("reference_test", record)],
    )


def runs(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "scale_a.json").read_text())["runs"]
    return found


def test_written_when_the_last_test_is_there(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new" / "evidence", None)
    recorder.pytest_runtest_logreport(report())
    assert not (tmp_path / "new").exists()
    where = ("file", 1, "Skipped: no GPU")
    recorder.pytest_runtest_logreport(report("agreement", outcome="skipped", longrepr=where))
    (run,) = runs(tmp_path / "new" / "evidence")
    assert run["result"] == "skipped"
    assert run["cases"] == [{"case": "one", "result": "skipped", "reason": "no GPU"}]
    assert [path.name for path in (tmp_path / "new" / "evidence").iterdir()] == ["scale_a.json"]


def test_cut_short_is_written_at_the_end(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, None)
    recorder.pytest_runtest_logreport(report())
    recorder.pytest_sessionfinish(2)
    assert runs(tmp_path)[0]["result"] == "incomplete"


def test_failure_keeps_its_message(tmp_path: Path) -> None:
    crash = SimpleNamespace(reprcrash=SimpleNamespace(message="AssertionError: " + "x" * 5000))
    recorder = Recorder(tmp_path, None)
    recorder.pytest_runtest_logreport(report("agreement", outcome="failed", longrepr=crash))
    recorder.pytest_sessionfinish(1)
    (run,) = runs(tmp_path)
    assert run["result"] == "failed"
    assert len(run["cases"][0]["reason"]) == 4000


@pytest.mark.parametrize(
    "ignored",
    [
        report(record={"dataset": "another"}),
        report(when="setup"),
        report(when="teardown"),
        SimpleNamespace(when="call", outcome="passed", user_properties=[]),
    ],
)
def test_what_is_not_of_this_dataset_or_decides_nothing(tmp_path: Path, ignored: Any) -> None:
    recorder = Recorder(tmp_path, None)
    recorder.pytest_runtest_logreport(ignored)
    recorder.pytest_sessionfinish(0)
    assert list(tmp_path.iterdir()) == []


def test_failed_setup_decides(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, None)
    recorder.pytest_runtest_logreport(report("agreement", when="setup", outcome="failed"))
    recorder.pytest_sessionfinish(1)
    assert runs(tmp_path)[0]["result"] == "failed"


def test_definition_that_does_not_load_has_no_evidence(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, None)
    broken = report(outcome="failed", record={"expected_tests": None})
    recorder.pytest_runtest_logreport(broken)
    recorder.pytest_sessionfinish(1)
    assert list(tmp_path.iterdir()) == []


def test_events(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    recorder = Recorder(None, events)
    session: Any = SimpleNamespace(items=[1, 2])
    recorder.pytest_collection_finish(session)
    error: Any = SimpleNamespace(failed=True, nodeid="test_x.py", longreprtext="broken")
    recorder.pytest_collectreport(error)
    recorder.pytest_runtest_logstart("test")
    recorder.pytest_runtest_logreport(report())
    recorder.pytest_sessionfinish(0)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["collected", "error", "start", "test", "finished"]
    assert lines[0]["total"] == 2
    assert lines[3]["record"]["result"] == "passed"
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]
