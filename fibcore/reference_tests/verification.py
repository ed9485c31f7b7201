"""Runs the reference tests, keeps the evidence and sets the definitions' status by it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.dataset import Dataset
from fibcore.definition import Definition
from fibcore.errors import DatasetError, FibcoreError, UsageError
from fibcore.reference_tests.add import CONFTEST, FOLDER
from fibcore.reference_tests.evidence import evidence_path, judge, merge_run, read_runs, to_json
from fibcore.reference_tests.render import module_file
from fibcore.reference_tests.report import Failure, VerifiedDefinition, VerifyReport
from fibcore.reference_tests.runner import Progress, TestRun, check_installed, run_tests
from fibcore.reference_tests.selection import Selection, open_dataset, select

if TYPE_CHECKING:
    from fibcore.registry import Registry

DEVICES = ("auto", "cpu", "cuda")


def verify(
    *,
    dataset: Path,
    op_type: Sequence[str] = (),
    definition_name: Sequence[str] = (),
    device: str = "auto",
    tolerance: float | None = None,
    sglang: Path | None = None,
    evidence_dir: Path | None = None,
    registry: Registry | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> VerifyReport:
    """Run reference tests, record the evidence and set `status:verified` by it.

    A definition is verified when its present reference agreed with a ground truth, here or on
    another machine whose evidence is there, and failed nowhere. Else it is `status:unverified`;
    one that has neither tests nor evidence keeps its tags. Without `op_type` and
    `definition_name` every definition of the dataset is concerned.

    Args:
        dataset: The dataset's folder.
        op_type: Op types whose definitions are concerned.
        definition_name: Single definitions.
        device: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        tolerance: rtol and atol in place of the defaults; the evidence says so.
        sglang: SGLang's source; None looks for it as the tests do.
        evidence_dir: A folder with evidence of another machine, to be taken in.
        registry: The plugins; the installed ones if None.
        progress: Is told of every test that ended.

    Raises:
        UsageError: an unknown op type, name or device.
        DatasetError: there is no such dataset, or it cannot be written.
        FibcoreError: pytest or torch is missing, or pytest cannot run.
    """
    if device not in DEVICES:
        raise UsageError(
            "no such device", where="--device", expected=", ".join(DEVICES), found=repr(device)
        )
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(
            "no such tolerance",
            where="--tolerance",
            expected="a number of at least 0",
            found=repr(tolerance),
        )
    if evidence_dir is not None and not evidence_dir.is_dir():
        raise UsageError("no such folder", where="evidence_dir", found=str(evidence_dir))
    store, registry = open_dataset(dataset, registry)
    selection = select(
        store,
        op_type=op_type,
        definition_name=definition_name,
        known_op_types=registry.op_types(),
    )
    check_installed()
    options = ["--device", device]
    if tolerance is not None:
        options += ["--tolerance", repr(tolerance)]
    if sglang is not None:
        options += ["--sglang", str(sglang.absolute())]
    for name in definition_name:
        options += ["--definition", name]
    modules, problems = _modules(dataset, selection)
    tests = run_tests(dataset, modules, options, progress)
    recorder = _Recorder(store, tests, evidence_dir)
    with store.locked():
        recorder.record(sorted(selection.names))
    counts = Counter(record["result"] for record in tests.records)
    reasons = Counter(r["reason"] for r in tests.records if r["result"] == "skipped")
    return VerifyReport(
        dataset=dataset,
        definitions=tuple(recorder.definitions),
        passed=counts["passed"],
        skipped=counts["skipped"],
        failed=counts["failed"],
        skip_reasons=dict(sorted(reasons.items())),
        broken=tuple(_failure(r) for r in tests.records if _is_broken_file(r)),
        problems=(*selection.errors, *problems, *tests.problems, *recorder.problems),
        summary=tests.summary,
    )


def _modules(dataset: Path, selection: Selection) -> tuple[list[str], list[FibcoreError]]:
    """The test modules of the chosen definitions, and what to say of those that are missing."""
    modules: list[str] = []
    problems: list[FibcoreError] = []
    for op_type in sorted(selection.op_types):
        path = f"{FOLDER}/{module_file(op_type)}"
        missing = next((p for p in (path, CONFTEST) if not (dataset / p).is_file()), None)
        if missing is None:
            modules.append(path)
            continue
        problems.append(
            DatasetError(
                f"the definitions of the op type {op_type} have no tests",
                where=str(dataset),
                expected=missing,
                hint=f"fibcore add-reference-tests --op-type {op_type}",
            )
        )
    return modules, problems


def _failure(record: Mapping[str, Any]) -> Failure:
    return Failure(str(record["nodeid"]), str(record.get("reason", "")))


def _is_broken_file(record: Mapping[str, Any]) -> bool:
    return bool(record["result"] == "failed" and record["expected_tests"] is None)


class _Recorder:
    """Writes evidence and status of the definitions, under the dataset's lock."""

    def __init__(self, dataset: Dataset, tests: TestRun, evidence_dir: Path | None) -> None:
        self.dataset = dataset
        self.tests = tests
        self.evidence_dir = evidence_dir
        self.definitions: list[VerifiedDefinition] = []
        self.problems: list[FibcoreError] = []

    def record(self, names: Sequence[str]) -> None:
        """Record what is known of definitions; one that cannot be recorded is a problem."""
        for name in names:
            self._record_or_report(name)

    def _record_or_report(self, name: str) -> None:
        try:
            definition = self.dataset.get(name)  # as it is now; tests take a while
            if definition is None:
                raise DatasetError("the definition is gone", where=name)
            self.definitions.append(self._record(definition))
        except DatasetError as error:
            self.problems.append(error)

    def _record(self, definition: Definition) -> VerifiedDefinition:
        name = definition.name
        path = evidence_path(name)
        present = definition.reference_hash
        known = runs = read_runs(self.dataset.root / path)
        if self.evidence_dir is not None:
            for run in read_runs(self.evidence_dir / f"{name}.json"):
                if run["reference_sha256"] == present:
                    runs = merge_run(runs, run)
        new = self.tests.evidence.get(name)
        if new is not None and new["reference_sha256"] == present:
            runs = merge_run(runs, new)
        if runs != known:
            self.dataset.write(path, to_json(name, definition.op_type, runs))
        verdict = judge(present, runs)
        own = [r for r in self.tests.records if r["definition"] == name]
        counts = Counter(record["result"] for record in own)
        crashes = [why for test, why in self.tests.crashed.items() if _is_about(test, name)]
        if own and new is None and not crashes:
            crashes = ["its tests did not run to the end"]
        reasons = tuple(dict.fromkeys((*crashes, *verdict.reasons)))
        verified = verdict.verified and not crashes and not counts["failed"]
        changed = False
        if own or runs or crashes:
            changed = self.dataset.set_status(name, verified, reference_hash=present)
        else:
            reasons = ("it has neither tests nor evidence; its status stays as it is",)
            verified = "status:verified" in definition.tags
        return VerifiedDefinition(
            name=name,
            op_type=definition.op_type,
            verified=verified,
            changed=changed,
            ground_truths=verdict.ground_truths if verified else (),
            reasons=() if verified and (own or runs) else reasons,
            passed=counts["passed"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            failures=tuple(_failure(r) for r in own if r["result"] == "failed")
            + tuple(Failure(name, why) for why in crashes),
        )


def _is_about(test: str, name: str) -> bool:
    """Whether a test id is one of a definition: `test_property[NAME-CASE-PROPERTY]`."""
    inner = test.partition("[")[2].rstrip("]")
    return inner == name or inner.startswith(name + "-")
