"""`fibcore.report`: writes the page and says what is on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibcore.dataset import Dataset
from fibcore.dataset.selection import no_definitions
from fibcore.errors import UsageError
from fibcore.keywords import api, several
from fibcore.pages import need_for_pages
from fibcore.pages.output import write_page
from fibcore.reports.dataset.contents import gather
from fibcore.reports.dataset.page import render
from fibcore.reports.dataset.steps import dataset_steps
from fibcore.reports.dataset.summary import DatasetReport
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

PAGE = "reports/index.html"
"""Where the page is below the dataset, unless another file is named."""


@api(Where)
def report(
    *,
    output: str | Path | None = None,
    steps: bool = False,
    gpu: str | Sequence[str] = (),
    **where: Unpack[Where],
) -> DatasetReport:
    """Write one self-contained HTML page of a dataset.

    The page needs no network and no other file. Nothing of the dataset is executed, and the same
    dataset gives the same bytes.

    Args:
        output: The page; by default `reports/index.html` of the dataset.
        steps: Show besides what one decode step and one prefill step of each model launch, with
            pictures: the models are elaborated anew, as they were served.
        gpu: The GPUs of these steps; the first one decides shares. H100, H200 and B200
            by default.
        **where: Where the dataset is; see `fibcore.workspace.Where`.

    Raises:
        UsageError: there is no such GPU, or one is named without `steps`.
        SourceError: `steps`, and there is no source to elaborate.
        DatasetError: there is no dataset, it has no definitions, or the page cannot be written.
        MissingPackageError: the extra `report` is not installed.
    """
    need_for_pages()
    if gpu and not steps:
        raise UsageError("GPUs are those of steps", where="--gpu", expected="--steps beside it")
    workspace = Workspace.of(**where)
    root = workspace.dataset_folder
    contents = gather(root, workspace.registry)
    if not contents.entries and not contents.problems:
        raise no_definitions(f"in {root}")  # a page of before stays
    weighed = dataset_steps(contents, workspace, several(gpu)) if steps else None
    text = render(contents, root.absolute().name, weighed)
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
        impossible=tuple(m for e in entries for m in e.measured if m.impossible),
        certificates=tuple(found for e in entries if (found := e.certified) is not None),
    )
