"""What is known of every definition of a dataset, gathered from all of its files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.benchmarking.certificates.certificate import Certificate
from fibcore.benchmarking.certificates.reading import CertificateSummary, read_certificate
from fibcore.benchmarking.costs.counting import Counter
from fibcore.benchmarking.costs.gpus import GPUS, Gpu
from fibcore.benchmarking.costs.report import Measured, WorkloadCost
from fibcore.dataset import Dataset, Provenance
from fibcore.dataset.inventory import Evaluation, Holding, read_inventory
from fibcore.errors import DatasetError, FibcoreError
from fibcore.model.definition import Definition
from fibcore.verification.evidence import Run, Verdict, evidence_path, judge, read_runs

if TYPE_CHECKING:
    from fibcore.ops.registry import Registry


@attrs.frozen
class Entry:
    """A definition and what is known of it.

    Attributes:
        definition: The definition.
        provenance: Where its numbers come from; None where nothing is recorded.
        runs: Test runs of its present reference.
        verdict: What all recorded runs say of the present reference.
        holding: Its workloads, solutions and evaluations.
        costs: What its workloads cost.
        measured: Its evaluations that passed, with the floor of their GPU.
        certificate: Whether its workloads tell right from wrong; None where nobody tried.
    """

    definition: Definition
    provenance: Provenance | None
    runs: tuple[Run, ...]
    verdict: Verdict
    holding: Holding
    costs: tuple[WorkloadCost, ...] = ()
    measured: tuple[Measured, ...] = ()
    certificate: Certificate | None = None

    @property
    def certified(self) -> CertificateSummary | None:
        """What the certificate says, in numbers."""
        if self.certificate is None:
            return None
        return CertificateSummary.of(self.certificate, self.definition)

    @property
    def times(self) -> Mapping[str, Measured]:
        """The measured times by file and line of the trace."""
        return {one.place: one for one in self.measured}

    @property
    def verified(self) -> bool:
        """Whether it has `status:verified`."""
        return "verified" in self.definition.tag_values("status")

    @property
    def errors(self) -> list[RunError]:
        """The largest error of each run that compared anything."""
        return [error for run in self.runs if (error := largest_error(run)) is not None]

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the largest speedup, of those whose time is possible."""
        wrong = {one.place for one in self.measured if one.impossible}
        passed = [e for e in self.holding.passed if e.place not in wrong]
        fast = [e for e in passed if e.speedup is not None and _finite(e.speedup)]
        return max(fast, key=lambda e: e.speedup or 0.0, default=None)


@attrs.frozen
class RunError:
    """The largest absolute error of a test run, and in which case and output it was."""

    value: float
    case: str
    output: str
    device: str
    ground_truth: str


@attrs.frozen
class Contents:
    """All of a dataset.

    Attributes:
        entries: The definitions by op type and name.
        problems: Files that are not usable.
        strangers: Names of definitions that the dataset has workloads, solutions or traces of, and
            that it lacks.
    """

    entries: tuple[Entry, ...]
    problems: tuple[FibcoreError, ...]
    strangers: tuple[str, ...]


def gather(root: Path, registry: Registry, gpus: Sequence[Gpu] = GPUS) -> Contents:
    """Read a dataset.

    Args:
        root: Its folder.
        registry: The plugins, which say what workloads cost.
        gpus: GPUs whose floors are given.

    Raises:
        DatasetError: there is none, or its folder of definitions cannot be read at all.
    """
    if not (root / "definitions").is_dir():
        raise DatasetError(
            "not a dataset folder",
            where=str(root),
            expected="a folder that holds the folder definitions",
            hint="fibcore extract-kernel-definitions makes one; --dataset names another",
        )
    store = Dataset(root)
    definitions, broken = store.read()
    inventory = read_inventory(root)
    problems: list[FibcoreError] = [*broken, *inventory.errors]
    counter = Counter(root, registry, gpus)
    entries = []
    for definition in definitions:
        provenance = None
        runs: tuple[Run, ...] = ()
        certificate = None
        try:
            provenance = store.provenance(definition.name)
        except DatasetError as error:
            problems.append(error)
        try:
            runs = read_runs(root / evidence_path(definition.name))
        except DatasetError as error:
            problems.append(_relative(error, root))
        try:
            certificate = read_certificate(root, definition)
        except DatasetError as error:
            problems.append(error)
        present = definition.reference_hash
        holding = inventory.of(definition.name)
        entries.append(
            Entry(
                definition,
                provenance,
                tuple(run for run in runs if run["reference_sha256"] == present),
                judge(present, runs),
                holding,
                counter.workloads(definition, holding),
                counter.measured(definition, holding),
                certificate,
            )
        )
    names = {d.name for d in definitions}
    strangers = tuple(name for name in inventory.holdings if name not in names)
    return Contents(tuple(entries), (*problems, *counter.problems), strangers)


def _relative(error: FibcoreError, root: Path) -> FibcoreError:
    """An error that names its file as it lies in the dataset, so that pages are alike anywhere."""
    where = (error.where or "").removeprefix(str(root)).lstrip("/\\")
    return DatasetError(
        error.message, where=where, expected=error.expected, found=error.found, hint=error.hint
    )


def largest_error(run: Mapping[str, Any]) -> RunError | None:
    """The largest absolute error of a run; None where it compared nothing."""
    found: list[RunError] = []
    for case in run["cases"]:
        outputs = case.get("outputs")
        for name, numbers in outputs.items() if isinstance(outputs, dict) else ():
            value = numbers.get("max_abs_error") if isinstance(numbers, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.append(
                    RunError(
                        float(value),
                        str(case.get("case", "")),
                        str(name),
                        str(run["device"]["name"]),
                        str(case.get("ground_truth", "")),
                    )
                )
    # NaN is larger than any error: it must not hide.
    return max(found, key=lambda e: math.inf if math.isnan(e.value) else e.value, default=None)


def _finite(value: float) -> bool:
    return math.isfinite(value)
