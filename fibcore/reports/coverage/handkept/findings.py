"""What a hand-kept page says that is wrong, and what of it could not be checked."""

from __future__ import annotations

import attrs


@attrs.frozen
class Contradiction:
    """Something that a page says and the source or the dataset contradicts.

    Attributes:
        line: The line of the page.
        model: The model concerned; empty where the page names none.
        kind: "not needed", "layers", "size", "status", "op type" or "left out".
        says: What the page says.
        derived: What is right.
        source: Where that comes from: config keys and source lines, or the dataset.
    """

    line: int
    model: str
    kind: str
    says: str
    derived: str
    source: str

    def __str__(self) -> str:
        model = f"{self.model}: " if self.model else ""
        return f"line {self.line}: {model}{self.says}; derived: {self.derived} ({self.source})"


@attrs.frozen
class Unchecked:
    """Something of a page that could not be checked, and why."""

    line: int
    says: str
    reason: str
