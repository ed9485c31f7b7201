"""What writing and running reference tests found, as data: for people, `--json` and the API."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.generated_files import Refusal
from fibcore.errors import FibcoreError


@attrs.frozen
class AddTestsReport:
    """The result of `fibcore.add_reference_tests`.

    Attributes:
        dataset: The dataset's folder.
        written: Files that changed, relative to the dataset.
        unchanged: Files that were already as they should be.
        refused: Files that were kept because a person edited or wrote them.
        tests: Definition name to the test module that covers it.
        ground_truths: Definition name to the names of its ground truths, the preferred one first.
        problems: What could not be done, as errors; all else was.
    """

    dataset: Path
    written: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    tests: Mapping[str, str] = attrs.field(factory=dict)
    ground_truths: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    problems: tuple[FibcoreError, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where everything was done, else 1."""
        return 1 if self.refused or self.problems else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "dataset": str(self.dataset),
            "written": list(self.written),
            "unchanged": list(self.unchanged),
            "refused": [attrs.asdict(refusal) for refusal in self.refused],
            "tests": dict(self.tests),
            "ground_truths": {name: list(truths) for name, truths in self.ground_truths.items()},
            "problems": [problem.to_dict() for problem in self.problems],
        }


@attrs.frozen
class Failure:
    """A test that failed: its id, and what it said."""

    test: str
    message: str


@attrs.frozen
class VerifiedDefinition:
    """What is known of one definition's reference after its tests were run.

    Attributes:
        name: The definition.
        op_type: Its op type.
        verified: Whether it has `status:verified` now.
        changed: Whether its status tag changed.
        ground_truths: Who it agreed with, here or elsewhere: name, version, device.
        reasons: Why it is not verified.
        passed: Tests that passed in this run.
        skipped: Tests that were skipped.
        failed: Tests that failed.
        failures: What failed.
        worker: Where its tests ran: "CPU", "GPU 1", the address of a machine.
        seconds: How long they took; None where they did not come to their end.
        memory_bytes: The most main memory that their process occupied meanwhile, where known.
        gpu_memory_bytes: The most GPU memory that torch reserved; None without a GPU.
        unchanged: Whether its tests were not run, since nothing changed since they were; the
            numbers are those of that run.
    """

    name: str
    op_type: str
    verified: bool
    changed: bool
    ground_truths: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    worker: str = ""
    seconds: float | None = None
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    unchanged: bool = False


@attrs.frozen
class VerifyReport:
    """The result of `fibcore.verify`.

    Attributes:
        dataset: The dataset's folder.
        definitions: The definitions concerned, by name.
        passed: Tests that passed.
        skipped: Tests that were skipped.
        failed: Tests that failed.
        skip_reasons: Reason to number of tests that were skipped for it.
        broken: Definition files that do not load, as the tests say it.
        problems: What kept tests from running or evidence from being recorded.
    """

    dataset: Path
    definitions: tuple[VerifiedDefinition, ...] = ()
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    skip_reasons: Mapping[str, int] = attrs.field(factory=dict)
    broken: tuple[Failure, ...] = ()
    problems: tuple[FibcoreError, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where nothing failed; a test that was skipped for a reason is no failure."""
        failures = any(definition.failures for definition in self.definitions)
        return 1 if self.failed or self.broken or self.problems or failures else 0

    @property
    def summary(self) -> str:
        """The counts in words, as pytest closes with them."""
        counts = (("failed", self.failed), ("passed", self.passed), ("skipped", self.skipped))
        return ", ".join(f"{count} {what}" for what, count in counts if count) or "no tests ran"

    @property
    def verified(self) -> tuple[str, ...]:
        """Names of the definitions that are verified."""
        return tuple(d.name for d in self.definitions if d.verified)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "dataset": str(self.dataset),
            "definitions": [attrs.asdict(definition) for definition in self.definitions],
            "passed": self.passed,
            "skipped": self.skipped,
            "failed": self.failed,
            "skip_reasons": dict(self.skip_reasons),
            "broken": [attrs.asdict(failure) for failure in self.broken],
            "problems": [problem.to_dict() for problem in self.problems],
            "summary": self.summary,
        }
