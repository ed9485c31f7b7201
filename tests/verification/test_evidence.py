"""Evidence: what it says of a reference, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.errors import DatasetError
from fibcore.verification import evidence

GPU = {"type": "cuda", "name": "A Big GPU", "capability": [9, 0]}


def run(result: str, sha: str = "h", kind: str | None = "sglang", **changes: Any) -> dict[str, Any]:
    truths = [{"name": "t", "kind": kind, "version": "1"}] if kind else []
    return {
        "reference_sha256": sha,
        "result": result,
        "device": {"type": "cpu", "name": "CPU"},
        "ground_truths": truths,
        "cases": [
            {
                "case": "c",
                "result": "passed" if result == "passed" else "skipped",
                "reason": "why",
            }
        ],
        **changes,
    }


@pytest.mark.parametrize(
    ("runs", "verified", "reason"),
    [
        ([run("passed")], True, None),
        ([run("passed", kind="torch")], True, None),
        ([run("passed"), run("failed", device=GPU)], False, "failed on A Big GPU"),
        ([run("passed", sha="other")], False, "changed since"),
        ([run("passed", sha="other"), run("skipped", kind=None)], False, "why"),
        ([run("incomplete")], False, "cut short"),
        ([run("passed", kind=None)], False, None),
        ([run("passed", cases=[])], False, None),
        ([run("skipped", kind=None), run("passed", device=GPU)], True, None),
        ([], False, None),
    ],
)
def test_judge(runs: list[dict[str, Any]], verified: bool, reason: str | None) -> None:
    verdict = evidence.judge("h", runs)
    assert verdict.verified is verified
    assert reason is None or reason in " ".join(verdict.reasons)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"result": "fine"}, "$.runs[0].result"),
        ({"reference_sha256": None}, "$.runs[0].reference_sha256"),
        ({"device": {"type": "cpu"}}, "$.runs[0].device"),
        ({"ground_truths": [{"name": "x"}]}, "$.runs[0].ground_truths"),
        ({"ground_truths": [{"name": "x", "kind": "dream", "version": ""}]}, "kinds of"),
        ({"cases": None}, "$.runs[0].cases"),
        ({"cases": [{"result": "passed"}]}, "$.runs[0].cases"),
        ({"cases": [{"case": 1, "result": "passed"}]}, "$.runs[0].cases"),
        ({"cases": [{"case": "c", "result": "passed", "outputs": []}]}, "$.runs[0].cases"),
        (
            {"cases": [{"case": "c", "result": "passed", "outputs": {"o": {"outside": 1}}}]},
            "$.runs[0].cases.outputs",
        ),
        ({"tests": {"passed": 1}}, "$.runs[0].tests"),
    ],
)
def test_evidence_with_a_fault_is_refused(
    tmp_path: Path, change: dict[str, Any], place: str
) -> None:
    path = tmp_path / "scale_k4.json"
    path.write_text(evidence.to_json("scale_k4", "scale", [run("passed")]))
    assert len(evidence.read_runs(path)) == 1
    path.write_text(evidence.to_json("scale_k4", "scale", [{**run("passed"), **change}]))
    with pytest.raises(DatasetError) as caught:
        evidence.read_runs(path)
    assert place in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"a": "\\ud800"}'])
def test_evidence_beyond_all_measure_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scale_k4.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match="not JSON that can be read"):
        evidence.read_runs(path)
