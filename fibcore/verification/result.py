"""What came of the tests of one definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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

    @property
    def outcome(self) -> str:
        """What the evidence says: "passed", "failed", "skipped" or "incomplete"."""
        counts = Counter(record["result"] for record in self.records)
        if self.crash is not None or counts["failed"]:
            return "failed"
        if self.evidence is not None:
            return str(self.evidence["result"])
        return "passed" if counts["passed"] else "skipped"
