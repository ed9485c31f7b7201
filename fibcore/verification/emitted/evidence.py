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
    """One run of a definition's tests, as evidence keeps it."""
    first = records[0]
    counts = {r: sum(x["result"] == r for x in records) for r in ("passed", "failed", "skipped")}
    cases: list[dict[str, Any]] = []
    properties: list[dict[str, Any]] = []
    truths: dict[str, dict[str, Any]] = {}
    for record in records:
        entry = {"case": record.get("case"), "result": record["result"]}
        if "reason" in record:
            entry["reason"] = record["reason"]
        if record["kind"] == "property":
            properties.append({"property": record["property"], **entry})
        elif record["kind"] == "agreement":
            for key in ("sizes", "tolerance", "outputs", "not_compared", "unavailable"):
                if record.get(key):
                    entry[key] = record[key]
            if "ground_truth" in record:
                truth = record["ground_truth"]
                entry["ground_truth"] = truth["name"]
                known = truths.setdefault(truth["name"], {**truth, "files": {}})
                known["files"].update(truth["files"])
            cases.append(entry)
    agreed = any(
        case["result"] == "passed"
        and any(output["elements"] for output in case.get("outputs", {}).values())
        for case in cases
    )
    if counts["failed"]:
        result = "failed"
    elif len(records) < first["expected_tests"]:
        result = "incomplete"
    else:
        result = "passed" if agreed else "skipped"
    for truth in truths.values():
        if not truth["files"]:
            del truth["files"]
    return {
        "reference_sha256": first["reference_sha256"],
        "result": result,
        "device": first["device"],
        "software": first["software"],
        "ground_truths": [truths[name] for name in sorted(truths)],
        "tests": counts,
        "cases": sorted(cases, key=lambda case: case["case"]),
        "properties": sorted(properties, key=lambda entry: (entry["case"], entry["property"])),
    }
