"""Writes evidence and status of definitions into the dataset as their tests end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fibcore.dataset import Dataset
from fibcore.errors import DatasetError, FibcoreError
from fibcore.model.definition import Definition
from fibcore.progress import Progress, report, report_end
from fibcore.verification.evidence import evidence_path, judge, merge_run, read_runs, to_json
from fibcore.verification.report import Failure, VerifiedDefinition, VerifyReport
from fibcore.verification.result import DefinitionResult

STEP = "running the reference tests"
WRITING_SHARE = 10.0
"""Times as long as it took to record what ended that the next time has to wait."""


def _failure(record: Mapping[str, Any]) -> Failure:
    return Failure(str(record["nodeid"]), str(record.get("reason", "")))


def _is_broken_file(record: Mapping[str, Any]) -> bool:
    return bool(record["result"] == "failed" and record["expected_tests"] is None)


class Recorder:
    """Writes evidence and status of definitions as they end, under the dataset's lock.

    Taking the lock has the dataset read, which costs more the larger it is. What ends while that
    would be most of the work is written together, a little later.
    """

    def __init__(
        self,
        dataset: Dataset,
        names: Collection[str],
        evidence_dir: Path | None,
        *,
        total: int,
        progress: Progress | None,
        finished: Callable[[DefinitionResult], None] | None,
    ) -> None:
        """Begin to record.

        Args:
            dataset: The dataset.
            names: The definitions that are concerned.
            evidence_dir: A folder with evidence of another machine, to be taken in.
            total: How many definitions have tests.
            progress: Called with the number of definitions whose tests have ended.
            finished: Called with the result of each, after `progress`.
        """
        self.dataset = dataset
        self.names = names
        self.evidence_dir = evidence_dir
        self.total = total
        self.progress = progress
        self.finished = finished
        self.results: dict[str, DefinitionResult] = {}
        self.unwritten: list[DefinitionResult] = []
        self.due = 0.0
        self.definitions: dict[str, VerifiedDefinition] = {}
        self.problems: list[FibcoreError] = []

    def take(self, result: DefinitionResult) -> None:
        """Record what came of the tests of one definition."""
        self.results[result.name] = result
        if result.problem is not None:
            self.problems.append(result.problem)
        if result.name in self.names:  # the others are files that hold no definition
            self.unwritten.append(result)
        self.write_if_due()
        done = len(self.results)
        how = "as before, nothing changed" if result.unchanged else result.worker
        text = f"{result.outcome}, {how}" if how else result.outcome
        name = f"[{done}/{self.total}] {result.name}"
        report_end(self.progress, name, text, 0.0 if result.unchanged else result.seconds)
        report(self.progress, STEP, done, self.total)
        if self.finished is not None:
            self.finished(result)

    def write_if_due(self) -> None:
        """Record what ended, unless that was done a moment ago."""
        if self.unwritten and time.monotonic() >= self.due:
            start = time.monotonic()
            self.write()
            end = time.monotonic()
            self.due = end + WRITING_SHARE * (end - start)

    def write(self) -> None:
        """Record what ended."""
        results, self.unwritten = self.unwritten, []
        if not results:
            return
        with self._reported(), self.dataset.locked():
            for result in results:
                with self._reported():
                    self._record(result)

    def rest(self) -> None:
        """Record what is known of definitions without tests."""
        left = sorted(set(self.names) - self.results.keys())
        self.unwritten += [DefinitionResult(name) for name in left]
        self.write()

    def report(self, problems: Sequence[FibcoreError]) -> VerifyReport:
        """What was found, with these problems before those of single definitions."""
        results = [self.results[name] for name in sorted(self.results)]
        records = [record for result in results for record in result.records]
        counts: Counter[str] = Counter()
        for result in results:
            counts.update(result.counts)
        reasons = Counter(reason for result in results for reason in result.skip_reasons)
        return VerifyReport(
            dataset=self.dataset.root,
            definitions=tuple(self.definitions[name] for name in sorted(self.definitions)),
            passed=counts["passed"],
            skipped=counts["skipped"],
            failed=counts["failed"],
            skip_reasons=dict(sorted(reasons.items())),
            broken=tuple(_failure(r) for r in records if _is_broken_file(r)),
            problems=(*problems, *self.problems),
        )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """What cannot be recorded is a problem, and the others go on."""
        try:
            yield
        except DatasetError as error:
            self.problems.append(error)

    def _record(self, result: DefinitionResult) -> None:
        definition = self.dataset.get(result.name)  # as it is now; tests take a while
        if definition is None:
            raise DatasetError("the definition is gone", where=result.name)
        self.definitions[result.name] = self._recorded(definition, result)

    def _recorded(self, definition: Definition, result: DefinitionResult) -> VerifiedDefinition:
        name = definition.name
        path = evidence_path(name)
        present = definition.reference_hash
        known = runs = read_runs(self.dataset.root / path)
        if self.evidence_dir is not None:
            for run in read_runs(self.evidence_dir / f"{name}.json"):
                if run["reference_sha256"] == present:
                    runs = merge_run(runs, run)
        new = result.evidence
        if new is not None and new["reference_sha256"] == present:
            runs = merge_run(runs, new)
        if runs != known:
            self.dataset.write(path, to_json(name, definition.op_type, runs))
        verdict = judge(present, runs)
        own = result.records
        counts = result.counts
        crashes = [] if result.crash is None else [result.crash]
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
            worker=result.worker,
            seconds=result.seconds,
            memory_bytes=result.memory_bytes,
            gpu_memory_bytes=result.gpu_memory_bytes,
            unchanged=result.unchanged,
        )
