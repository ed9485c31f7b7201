"""What evidence keeps of the tests of a definition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibcore.verification import evidence
from fibcore.verification.emitted import evidence as emitted

RUNS = st.fixed_dictionaries(
    {
        "reference_sha256": st.sampled_from(["a", "b"]),
        "result": st.sampled_from(evidence.RESULTS),
        "device": st.fixed_dictionaries(
            {"type": st.sampled_from(["cpu", "cuda"]), "name": st.sampled_from(["x", "y"])}
        ),
        "ground_truths": st.lists(
            st.fixed_dictionaries(
                {"name": st.just("n"), "kind": st.sampled_from(evidence.STRENGTH)}
            ),
            max_size=2,
        ),
    }
)


@given(st.lists(RUNS, max_size=6))
def test_conftest_and_fibcore_merge_alike(runs: list[dict[str, Any]]) -> None:
    ours: tuple[Any, ...] = ()
    theirs: list[dict[str, Any]] = []
    for run in runs:
        ours, theirs = evidence.merge_run(ours, run), emitted.merge_run(theirs, run)
        assert list(ours) == theirs
    assert {run["reference_sha256"] for run in ours} == {r["reference_sha256"] for r in runs[-1:]}


def test_constants_agree() -> None:
    assert emitted.STRENGTH == evidence.STRENGTH


DEVICE = {"type": "cpu", "name": "CPU"}
TRUTH = {"name": "t", "kind": "torch", "version": "torch 2", "files": {}}


def record(kind: str = "agreement", result: str = "passed", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "reference_sha256": "a",
        "expected_tests": 2,
        "device": DEVICE,
        "software": {},
        "result": result,
        **more,
    }


def agreement(case: str = "one", result: str = "passed", **more: Any) -> dict[str, Any]:
    outputs = {"y": {"elements": 4}}
    return record(result=result, case=case, **{"outputs": outputs, "ground_truth": TRUTH, **more})


DEFINITION = record("definition")


def test_summary() -> None:
    sglang = {"name": "s", "kind": "sglang", "version": "sglang 1", "files": {"a.py": "1"}}
    other = {**sglang, "files": {"b.py": "2"}}
    records = [
        record("property", case="one", property="p"),
        agreement("two", ground_truth=other, sizes={"n": 2}, unavailable={}),
        agreement("one", ground_truth=sglang, tolerance=0.5),
        agreement("three", ground_truth=TRUTH),
    ]
    assert emitted.summarize(records) == {
        "reference_sha256": "a",
        "result": "passed",
        "device": DEVICE,
        "software": {},
        "ground_truths": [
            {**sglang, "files": {"a.py": "1", "b.py": "2"}},
            {"name": "t", "kind": "torch", "version": "torch 2"},
        ],
        "tests": {"passed": 4, "failed": 0, "skipped": 0},
        "cases": [
            {
                "case": "one",
                "result": "passed",
                "tolerance": 0.5,
                "outputs": {"y": {"elements": 4}},
                "ground_truth": "s",
            },
            {
                "case": "three",
                "result": "passed",
                "outputs": {"y": {"elements": 4}},
                "ground_truth": "t",
            },
            {
                "case": "two",
                "result": "passed",
                "sizes": {"n": 2},
                "outputs": {"y": {"elements": 4}},
                "ground_truth": "s",
            },
        ],
        "properties": [{"property": "p", "case": "one", "result": "passed"}],
    }


@pytest.mark.parametrize(
    ("records", "result"),
    [
        ([DEFINITION, agreement()], "passed"),
        ([DEFINITION, agreement(result="failed", reason="r")], "failed"),
        ([agreement(result="failed")], "failed"),
        ([agreement()], "incomplete"),
        ([DEFINITION, agreement(outputs={"y": {"elements": 0}})], "skipped"),
        ([DEFINITION, record(result="skipped", case="one", reason="r")], "skipped"),
    ],
)
def test_result(records: list[dict[str, Any]], result: str) -> None:
    assert emitted.summarize(records)["result"] == result


def test_reasons_are_kept() -> None:
    (case,) = emitted.summarize([record(result="skipped", case="one", reason="no GPU")])["cases"]
    assert case == {"case": "one", "result": "skipped", "reason": "no GPU"}
