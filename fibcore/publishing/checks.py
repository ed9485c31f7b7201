"""Whether the files that are to be published may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fibcore.dataset import Dataset
from fibcore.dataset.conflicts import MARKDOWN_PATH
from fibcore.dataset.files import relative
from fibcore.errors import PublishError
from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry
from fibcore.publishing.plan import UploadPlan, some
from fibcore.validation.run import validate


class CheckedDataset:
    """The dataset's own checks, and what they mean for publishing.

    A problem of a file that the Hub has just so does not stand in the way of other files.
    """

    def __init__(self, root: Path, plugins: Registry) -> None:
        self.root = root
        self.validation = validate(root, registry=plugins)
        self.store = Dataset(root, variant=plugins.function_of)
        self.definitions = self.store.read().definitions
        self.conflicts = self.store.conflicts()

    def path(self, definition: Definition) -> str:
        """The file of a definition, relative to the dataset."""
        return relative(self.root, self.store.path(definition))

    def refusals(self, plan: UploadPlan) -> Iterator[PublishError]:
        """Why the changes may not be published."""
        sent = {change.path for change in plan.changes if change.kind != "deleted"}
        wrong = [p for p in self.validation.errors if p.path in sent]
        if wrong:
            yield PublishError(
                f"the dataset has errors in {len({p.path for p in wrong})} of the files",
                found="; ".join(f"{p.path}: {p.message}" for p in wrong[:3])
                + ("; ..." if len(wrong) > 3 else ""),
                hint="correct what `fibcore validate` lists",
            )
        for conflict in self.conflicts:
            paths = {self.path(conflict.kept), self.path(conflict.new)}
            if paths & sent:
                yield PublishError(
                    f"the conflict about {conflict.name} is open",
                    where=str(self.root / MARKDOWN_PATH),
                    found=f"{conflict.new.name} is another kernel of that name",
                    hint="rename one of the two (file name and `name`) or remove it",
                )

    def notes(self, plan: UploadPlan) -> Iterator[str]:
        """What is wrong with files that are not sent, and what is not proved yet."""
        sent = {change.path for change in plan.changes}
        others = {p.path for p in self.validation.errors} - sent
        if others:
            yield f"files that are not part of this have errors: {some(sorted(others))}"
        unproved = [
            d.name
            for d in self.definitions
            if self.path(d) in sent and "status:verified" not in d.tags
        ]
        if unproved:
            yield f"not verified against a ground truth: {some(unproved)}"
