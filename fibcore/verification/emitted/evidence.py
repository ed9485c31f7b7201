"""What evidence keeps of the tests of a definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STRENGTH = ("flashinfer", "sglang", "torch")


def strongest_kind(run: Mapping[str, Any]) -> str | None:
    """The kind of the best ground truth in a run; None where nothing was compared."""
    kinds = [truth["kind"] for truth in run["ground_truths"]]
    return min(kinds, key=STRENGTH.index) if kinds else None


def merge_run(runs: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Evidence of a definition with one more run.

    Runs of another reference are dropped. A run replaces the one of the same device and the same
    kind of ground truth, except that one which was cut short does not replace a whole one.
    """

    def key(run: Mapping[str, Any]) -> tuple[str, str, str]:
        return run["device"]["type"], run["device"]["name"], strongest_kind(run) or ""

    kept = [dict(r) for r in runs if r["reference_sha256"] == new["reference_sha256"]]
    same = [r for r in kept if key(r) == key(new)]
    if new["result"] == "incomplete" and any(r["result"] != "incomplete" for r in same):
        return kept
    return sorted([*(r for r in kept if key(r) != key(new)), dict(new)], key=key)


def summarize(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One run of a definition's tests, as evidence keeps it.

    Args:
        records: What the tests found, each with its `result`; at least one.
    """
    first = records[0]
    cases = [_case(record) for record in records if record["kind"] == "agreement"]
    properties = [
        {"property": record["property"], **_entry(record)}
        for record in records
        if record["kind"] == "property"
    ]
    return {
        "reference_sha256": first["reference_sha256"],
        "result": _result(records, cases),
        "device": first["device"],
        "software": first["software"],
        "ground_truths": _ground_truths(records),
        "tests": {r: _count(records, r) for r in ("passed", "failed", "skipped")},
        "cases": sorted(cases, key=lambda case: case["case"]),
        "properties": sorted(properties, key=lambda entry: (entry["case"], entry["property"])),
    }


def _count(records: Sequence[Mapping[str, Any]], result: str) -> int:
    return sum(record["result"] == result for record in records)


def _entry(record: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"case": record.get("case"), "result": record["result"]}
    if "reason" in record:
        entry["reason"] = record["reason"]
    return entry


def _case(record: Mapping[str, Any]) -> dict[str, Any]:
    entry = _entry(record)
    for key in ("sizes", "tolerance", "outputs", "not_compared", "unavailable"):
        if record.get(key):
            entry[key] = record[key]
    if "ground_truth" in record:
        entry["ground_truth"] = record["ground_truth"]["name"]
    return entry


def _ground_truths(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Who the outputs were compared with, by name, with all source files that any case used."""
    truths: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["kind"] == "agreement" and "ground_truth" in record:
            truth = record["ground_truth"]
            known = truths.setdefault(truth["name"], {**truth, "files": {}})
            known["files"].update(truth["files"])
    for truth in truths.values():
        if not truth["files"]:
            del truth["files"]
    return [truths[name] for name in sorted(truths)]


def _result(records: Sequence[Mapping[str, Any]], cases: Sequence[Mapping[str, Any]]) -> str:
    """One word for all tests; `passed` needs a case in which elements were compared."""
    if _count(records, "failed"):
        return "failed"
    if len(records) < records[0]["expected_tests"]:
        return "incomplete"
    agreed = any(
        case["result"] == "passed"
        and any(output["elements"] for output in case.get("outputs", {}).values())
        for case in cases
    )
    return "passed" if agreed else "skipped"
