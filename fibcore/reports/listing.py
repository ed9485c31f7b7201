"""`fibcore.list`: the definitions of a dataset, and what is there for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset.inventory import read_inventory
from fibcore.dataset.selection import open_dataset, select
from fibcore.errors import DatasetError, FibcoreError, UsageError, nearest
from fibcore.keywords import api, part, several
from fibcore.model.json import to_data
from fibcore.reports.coverage.needs import BASELINE_AUTHORS
from fibcore.verification.evidence import evidence_path, judge, read_runs
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

VERIFIED, FAILED, STALE, UNVERIFIED = "verified", "failed", "outdated", "unverified"
STATUSES = (VERIFIED, FAILED, STALE, UNVERIFIED)


@attrs.frozen
class Listed:
    """A definition, in short.

    Attributes:
        name: The definition.
        op_type: Its op type.
        status: "verified", "failed", "outdated" (all evidence is about an earlier reference) or
            "unverified", as the recorded evidence says of the present reference.
        models: The models that it is tagged with.
        tests: Test cases that passed, of all runs of the present reference.
        workloads: How many workloads it has.
        baselines: Its solutions that are baselines, by their author.
        solutions: How many solutions it has, baselines included.
        agrees_with: The ground truths that it agreed with.
    """

    name: str
    op_type: str
    status: str
    models: tuple[str, ...]
    tests: int
    workloads: int
    baselines: tuple[str, ...]
    solutions: int
    agrees_with: tuple[str, ...]


@attrs.frozen
class ListReport:
    """The result of `fibcore.list`.

    Attributes:
        dataset: The dataset's folder.
        definitions: The definitions that were asked for, by op type and name.
        total: How many there are in the dataset.
        problems: Files of the dataset that are not usable.
    """

    dataset: Path
    definitions: tuple[Listed, ...]
    total: int
    problems: tuple[FibcoreError, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where files are not usable, or nothing was found."""
        return 1 if self.problems or not self.definitions else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**to_data(self), "exit_code": self.exit_code}


class ListAsked(Where, total=False):
    """The keywords of `list`.

    Attributes:
        op_type: An op type, or several; by default all.
        model_name: A model that definitions are tagged with, or several; by default all.
        status: One of `STATUSES`, or several; by default all.
    """

    op_type: str | Iterable[str]
    model_name: str | Iterable[str]
    status: str | Iterable[str]


@api(ListAsked)
def list(**asked: Unpack[ListAsked]) -> ListReport:  # noqa: A001 - the command's name
    """List the definitions of a dataset with status, models, tests, workloads and baselines.

    Args:
        **asked: Which definitions, and where the dataset is; see `ListAsked`.

    Raises:
        DatasetError: there is no dataset.
        UsageError: an op type, a model or a status that there is not.
    """
    workspace = Workspace.of(**part(Where, asked))
    root = workspace.dataset_folder
    dataset, registry = open_dataset(root, workspace.registry)
    op_types = several(asked.get("op_type"))
    chosen = select(dataset, op_type=op_types, known_op_types=registry.op_types())
    inventory = read_inventory(root)
    problems: dict[str, FibcoreError] = {str(e): e for e in (*chosen.problems, *inventory.errors)}
    rows = []
    for definition in chosen.definitions:
        try:
            runs = read_runs(root / evidence_path(definition.name))
        except DatasetError as error:
            problems[str(error)] = error
            runs = ()
        present = definition.reference_hash
        verdict = judge(present, runs)
        own = [run for run in runs if run["reference_sha256"] == present]
        holding = inventory.of(definition.name)
        rows.append(
            Listed(
                name=definition.name,
                op_type=definition.op_type,
                status=_status(verdict.verified, verdict.stale, own),
                models=tuple(definition.tag_values("model")),
                tests=sum(c["result"] == "passed" for run in own for c in run["cases"]),
                workloads=len(holding.workloads),
                baselines=tuple(
                    solution.name for author in BASELINE_AUTHORS for solution in holding.by(author)
                ),
                solutions=len(holding.solutions),
                agrees_with=verdict.ground_truths,
            )
        )
    models = _known(several(asked.get("model_name")), {m for r in rows for m in r.models}, "model")
    statuses = _known(several(asked.get("status")), STATUSES, "status")
    found = tuple(
        row
        for row in rows
        if (not models or models & set(row.models)) and (not statuses or row.status in statuses)
    )
    return ListReport(root, found, len(rows), tuple(problems.values()))


def _status(verified: bool, stale: bool, runs: Iterable[Mapping[str, Any]]) -> str:
    if verified:
        return VERIFIED
    if any(run["result"] == "failed" for run in runs):
        return FAILED
    return STALE if stale else UNVERIFIED


def _known(given: tuple[str, ...], known: Iterable[str], what: str) -> set[str]:
    """What was given, all of it known."""
    there = set(known)
    for value in given:
        if value not in there:
            raise UsageError(
                f"no definition of the dataset has this {what}",
                where=value,
                expected=", ".join(nearest(value, there)) or "none: there are none",
            )
    return set(given)
