"""The outcome of adding a definition to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from fibcore.dataset.merging import Difference
from fibcore.dataset.provenance import ConstantDifference
from fibcore.model.definition import Definition

OutcomeKind = Literal["new", "merged", "unchanged", "updated", "same-kernel-other-name", "conflict"]


@attrs.frozen
class Outcome:
    """The outcome of adding one definition.

    Attributes:
        kind: "new"; "merged" where tags came to the one that was there; "unchanged"; "updated"
            where its words or reference were replaced on request; "same-kernel-other-name" where
            the dataset has the kernel under another name, which is kept; "conflict" where another
            kernel has the name, so that this one is stored with a version suffix.
        requested: The name under which it came.
        definition: The definition as the dataset has it now; its name is the one to use.
        path: Its file.
        changed: Whether the definition's file was written (or would be, in a dry run). Adding a
            conflicting definition again is a "conflict" that changes nothing.
        added_tags: Tags that came to a definition that was there.
        differences: "conflict": field by field against the definition that has the name.
        reference_differs: Whether the dataset keeps another reference than the one that came.
        constants: Constants in which the models that share the definition differ.
    """

    kind: OutcomeKind
    requested: str
    definition: Definition
    path: Path
    changed: bool
    added_tags: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    reference_differs: bool = False
    constants: tuple[ConstantDifference, ...] = ()

    @property
    def name(self) -> str:
        """The name of the definition in the dataset."""
        return self.definition.name

    @property
    def message(self) -> str:
        """The outcome in a line for people."""
        if self.kind == "conflict":
            fields = ", ".join(d.field for d in self.differences)
            text = f"{self.requested}: another kernel has this name (they differ in {fields}); "
            text += f"stored as {self.name}"
        elif self.kind == "same-kernel-other-name":
            text = f"{self.requested}: the dataset has this kernel as {self.name}, which is kept"
        else:
            text = f"{self.requested}: {self.kind}"
        if self.added_tags:
            text += f"; tags added: {', '.join(self.added_tags)}"
        for constant in self.constants:
            text += f"; {constant}"
        if self.reference_differs and not self.constants:
            text += "; the dataset's reference differs from this one and stays"
        return text
