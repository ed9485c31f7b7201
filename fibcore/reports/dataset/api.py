"""`fibcore.report`: writes the page and says what is on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset import Dataset
from fibcore.errors import FibcoreError
from fibcore.keywords import api
from fibcore.pages import need_for_pages
from fibcore.pages.output import write_page
from fibcore.reports.dataset.contents import gather
from fibcore.reports.dataset.page import render
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

PAGE = "reports/index.html"
"""Where the page is below the dataset, unless another file is named."""


@attrs.frozen
class DatasetReport:
    """The result of `fibcore.report`.

    Attributes:
        dataset: The dataset's folder.
        output: The page.
        changed: Whether the page was written; False where it was the same already.
        counts: How many definitions, how many of them verified, benchmarked, and how many
            models, op types, workloads, solutions and evaluations.
        problems: Files of the dataset that are not usable; they are listed on the page.
        strangers: Definitions that the dataset lacks and has workloads, solutions or traces of.
    """

    dataset: Path
    output: Path
    changed: bool
    counts: dict[str, int]
    problems: tuple[FibcoreError, ...]
    strangers: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where files are not usable."""
        return 1 if self.problems else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "dataset": str(self.dataset),
            "output": str(self.output),
            "changed": self.changed,
            "counts": dict(self.counts),
            "problems": [problem.to_dict() for problem in self.problems],
            "strangers": list(self.strangers),
            "exit_code": self.exit_code,
        }


@api(Where)
def report(*, output: str | Path | None = None, **where: Unpack[Where]) -> DatasetReport:
    """Write one self-contained HTML page of a dataset.

    The page needs no network and no other file. Nothing of the dataset is executed, and the same
    dataset gives the same bytes.

    Args:
        output: The page; by default `reports/index.html` of the dataset.
        **where: Where the dataset is; see `fibcore.workspace.Where`.

    Raises:
        DatasetError: there is no dataset, or the page cannot be written.
        MissingPackageError: the extra `report` is not installed.
    """
    need_for_pages()
    root = Workspace.of(**where).dataset_folder
    contents = gather(root)
    text = render(contents, root.absolute().name)
    path = root / PAGE if output is None else Path(output)
    changed = Dataset(root).write(PAGE, text) if output is None else write_page(path, text)
    entries = contents.entries
    return DatasetReport(
        dataset=root,
        output=path,
        changed=changed,
        counts={
            "definitions": len(entries),
            "verified": sum(entry.verified for entry in entries),
            "op types": len({e.definition.op_type for e in entries}),
            "models": len({m for e in entries for m in e.definition.tag_values("model")}),
            "workloads": sum(len(e.holding.workloads) for e in entries),
            "solutions": sum(len(e.holding.solutions) for e in entries),
            "evaluations": sum(len(e.holding.evaluations) for e in entries),
        },
        problems=contents.problems,
        strangers=contents.strangers,
    )
