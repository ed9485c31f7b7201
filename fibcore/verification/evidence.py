"""Evidence that a reference agrees with a ground truth: reading, merging, judging.

A file `reports/verification/<name>.json` holds the runs of one definition's tests, one for each
device and kind of ground truth; the emitted `conftest.py` writes the same form with `--evidence`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import DatasetError
from fibcore.model.json import JsonError, decode
from fibcore.regular_files import read_bytes

FOLDER = "reports/verification"
RESULTS = ("passed", "failed", "skipped", "incomplete")
STRENGTH = ("flashinfer", "sglang", "torch")

Run = Mapping[str, Any]


def evidence_path(name: str) -> str:
    """The file of a definition's evidence, relative to the dataset."""
    return f"{FOLDER}/{name}.json"


def read_runs(path: Path) -> tuple[Run, ...]:
    """The runs in a file of evidence; () where there is no such file.

    Raises:
        DatasetError: it cannot be read, or is not what a test run writes.
    """
    try:
        data = decode(read_bytes(path))
        _need(isinstance(data, dict), "$", "an object")
        _need(data.get("definition") == path.stem, "$.definition", f"{path.stem!r}, as the file")
        _need(isinstance(data.get("runs"), list), "$.runs", "a list")
        for index, run in enumerate(data["runs"]):
            _check_run(run, f"$.runs[{index}]")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _broken(path, "cannot read the evidence", error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise _broken(path, "the evidence is not UTF-8", str(error)) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}: {error.msg}"
        raise _broken(path, "the evidence is not JSON", place) from None
    except JsonError as error:
        raise _broken(path, "the evidence is not JSON that can be read", str(error)) from None
    except _NotEvidence as error:
        raise _broken(path, "this is no evidence", str(error)) from None
    return tuple(data["runs"])


class _NotEvidence(Exception):
    """What is wrong, and where in the file."""


def _broken(path: Path, message: str, found: str) -> DatasetError:
    return DatasetError(
        message, where=str(path), found=found, hint="remove the file and verify again"
    )


def _need(right: bool, place: str, expected: str) -> None:
    if not right:
        raise _NotEvidence(f"{place}: expected {expected}")


def _check_run(run: object, place: str) -> None:
    if not isinstance(run, dict):
        raise _NotEvidence(f"{place}: expected an object")
    _need(isinstance(run.get("reference_sha256"), str), f"{place}.reference_sha256", "a string")
    _need(run.get("result") in RESULTS, f"{place}.result", "one of " + ", ".join(RESULTS))
    device = run.get("device")
    right = isinstance(device, dict) and all(isinstance(device.get(k), str) for k in _DEVICE)
    _need(right, f"{place}.device", "an object with " + " and ".join(_DEVICE))
    for key, needed in _LISTS:
        items = run.get(key)
        _need(isinstance(items, list), f"{place}.{key}", "a list")
        for item in items if isinstance(items, list) else ():
            right = isinstance(item, dict) and all(isinstance(item.get(k), str) for k in needed)
            _need(right, f"{place}.{key}", "objects with " + ", ".join(needed))
    tests = run.get("tests")
    if tests is not None:
        right = isinstance(tests, dict) and all(isinstance(tests.get(k), int) for k in RESULTS[:3])
        _need(right, f"{place}.tests", "an object with numbers for " + ", ".join(RESULTS[:3]))
    for case in run["cases"]:
        _check_outputs(case, f"{place}.cases")
    kinds = {truth["kind"] for truth in run["ground_truths"]}
    _need(kinds <= set(STRENGTH), f"{place}.ground_truths", "kinds of " + ", ".join(STRENGTH))


def _check_outputs(case: Mapping[str, Any], place: str) -> None:
    outputs = case.get("outputs")
    _need(outputs is None or isinstance(outputs, dict), f"{place}.outputs", "an object")
    for numbers in (outputs or {}).values():
        right = isinstance(numbers, dict) and ("outside" not in numbers or "elements" in numbers)
        _need(right, f"{place}.outputs", "objects, in which elements are counted if outside is")


_DEVICE = ("type", "name")
_LISTS = (("ground_truths", ("name", "kind", "version")), ("cases", ("case", "result")))


def to_json(name: str, op_type: str, runs: Sequence[Run]) -> str:
    """The text of a file of evidence."""
    data = {"definition": name, "op_type": op_type, "runs": list(runs)}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def merge_run(runs: Sequence[Run], new: Run) -> tuple[Run, ...]:
    """Evidence with one more run; the rule is that of `merge_run` in the generated conftest.py.

    Runs of another reference are dropped. A run replaces the one of the same device and the same
    kind of ground truth, except that one which was cut short does not replace a whole one. So a
    weaker run on a CPU leaves a stronger one on a GPU where it is, and both have to have passed.
    """
    kept = tuple(r for r in runs if r["reference_sha256"] == new["reference_sha256"])
    same = [r for r in kept if _key(r) == _key(new)]
    if new["result"] == "incomplete" and any(r["result"] != "incomplete" for r in same):
        return kept
    return tuple(sorted([*(r for r in kept if _key(r) != _key(new)), new], key=_key))


def _key(run: Run) -> tuple[str, str, str]:
    kinds = [truth["kind"] for truth in run["ground_truths"]]
    strongest = min(kinds, key=STRENGTH.index) if kinds else ""
    return run["device"]["type"], run["device"]["name"], strongest


@attrs.frozen
class Verdict:
    """What evidence says of a reference.

    Attributes:
        verified: Whether it agreed with a ground truth and no run of it failed.
        stale: Whether all of the evidence there is is about another reference.
        ground_truths: Who it agreed with: name, version, device.
        reasons: Why it is not verified.
    """

    verified: bool
    stale: bool = False
    ground_truths: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def judge(reference_hash: str, runs: Sequence[Run]) -> Verdict:
    """What the runs say of the reference with this SHA-256."""
    own = [run for run in runs if run["reference_sha256"] == reference_hash]
    agreed = []
    reasons = []
    for run in own:
        device = run["device"]["name"]
        if run["result"] == "failed":
            reasons.append(f"its tests failed on {device}")
        elif run["result"] == "incomplete":
            reasons.append(f"its tests were cut short on {device}")
        elif run["result"] == "passed" and any(c["result"] == "passed" for c in run["cases"]):
            agreed += [f"{t['name']} ({t['version']}, {device})" for t in run["ground_truths"]]
        reasons += [case["reason"] for case in run["cases"] if _skipped_with_reason(case)]
    if agreed and not any(run["result"] == "failed" for run in own):
        return Verdict(True, ground_truths=tuple(dict.fromkeys(agreed)))
    stale = bool(runs) and not own
    if stale:
        reasons.append("the reference changed since the evidence was made")
    return Verdict(False, stale, reasons=tuple(dict.fromkeys(reasons)))


def _skipped_with_reason(case: Mapping[str, Any]) -> bool:
    return case["result"] == "skipped" and isinstance(case.get("reason"), str)
