"""What a table of others says rightly, wrongly, or in words that are not known."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import attrs

from fibcore.extraction.report import Refused

State = Literal["right", "wrong", "unknown"]


@attrs.frozen
class Verdict:
    """What is true of a row.

    Attributes:
        row: The row, with its place.
        state: Whether it is right, wrong, or about nothing that is known.
        model: The model that it was held against.
        why: The kernel that it is, or the true value, or why nothing is known.
        source: Where the true values come from: config keys, serving options, source lines.
    """

    row: str
    state: State
    model: str
    why: str
    source: str = ""


@attrs.frozen
class CheckReport:
    """The result of `fibcore.check`.

    Attributes:
        table: The file.
        source: The SGLang source.
        verdicts: One for each row; of a page in sentences for each that is not right.
        refused: Models that could not be looked at.
        failures: What of the others is not complete, in a line each.
        right: How many sentences of a page are right.
    """

    table: str
    source: str
    verdicts: tuple[Verdict, ...]
    refused: tuple[Refused, ...] = ()
    failures: tuple[str, ...] = ()
    right: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many rows are right, wrong and unknown."""
        counts = Counter(verdict.state for verdict in self.verdicts)
        counts["right"] += self.right
        return {state: counts[state] for state in ("right", "wrong", "unknown")}

    @property
    def exit_code(self) -> int:
        """0 where rows are right and none is wrong or unknown, else 1."""
        counts = self.counts
        whole = not self.refused and not self.failures
        return 0 if whole and not (counts["wrong"] or counts["unknown"]) else 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "table": self.table,
            "source": self.source,
            "counts": self.counts,
            "rows": [attrs.asdict(verdict) for verdict in self.verdicts],
            "refused": [refused.to_dict() for refused in self.refused],
            "failures": list(self.failures),
            "exit_code": self.exit_code,
        }
