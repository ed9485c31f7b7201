"""What came of the tests of one definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from fibcore.errors import FibcoreError


@attrs.frozen
class DefinitionResult:
    """What came of the tests of one definition.

    Attributes:
        name: The definition.
        records: One for every test that ended: definition, kind, result, reason; and `nodeid`.
        evidence: The run that its evidence gets; None where the tests did not come to their end.
        crash: What became of the process that ran them, if it did not survive it.
        problem: The same with what the process last said, for people.
        worker: Where they ran: "CPU", "GPU 1", the address of a machine.
        seconds: How long they took.
        memory_bytes: The most main memory that the process occupied meanwhile, where known.
        gpu_memory_bytes: The most GPU memory that torch reserved; None without a GPU.
        unchanged: Whether the tests were not run, since `evidence` is of a run of the same.
    """

    name: str
    records: tuple[Mapping[str, Any], ...] = ()
    evidence: Mapping[str, Any] | None = None
    crash: str | None = None
    problem: FibcoreError | None = None
    worker: str = ""
    seconds: float | None = None
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    unchanged: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        """How many tests "passed", "skipped" and "failed"; of earlier ones where unchanged."""
        if self.unchanged and self.evidence is not None:
            return Counter(self.evidence["tests"])
        return Counter(record["result"] for record in self.records)

    @property
    def skip_reasons(self) -> Sequence[str]:
        """Why tests were skipped, once for each."""
        tests = self.records
        if self.unchanged and self.evidence is not None:
            tests = (*self.evidence["cases"], *self.evidence.get("properties", ()))
        return [str(t.get("reason", "")) for t in tests if t["result"] == "skipped"]

    @property
    def outcome(self) -> str:
        """What the evidence says: "passed", "failed", "skipped" or "incomplete"."""
        if self.crash is not None or self.counts["failed"]:
            return "failed"
        if self.evidence is not None:
            return str(self.evidence["result"])
        return "passed" if self.counts["passed"] else "skipped"
