"""What a dataset covers of its models, as data: for the pages, `--json` and callers of the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.extraction.report import Refused, Remark
from fibcore.model.json import to_data
from fibcore.model.kernel import Scalar
from fibcore.reports.launches import StepShare

STEPS = ("definition", "verified", "workloads", "baseline", "benchmarks")
"""What a definition should have, in the order in which it gets it."""


@attrs.frozen
class Constant:
    """A constant of a kernel and where it comes from.

    Attributes:
        value: The constant.
        source: Config keys, serving sizes and the source line, in words.
    """

    value: Scalar
    source: str


@attrs.frozen
class Need:
    """A definition that a model needs, and what the dataset has of it.

    Attributes:
        kernel: The name that the op type's plugin gives it.
        definition: The dataset's name for it, which may be another one; None where it is missing.
        op_type: Its op type.
        servings: The parallel sizes at which the model needs it: `TP 8, EP 8`.
        layers: How many layers run it; the largest number where it differs between servings.
        where: The source line that constructs the first of them.
        constants: Its constants by name.
        verified: Whether it has `status:verified`.
        tested: Whether the dataset's reference tests cover it.
        workloads: How many workloads there are.
        solutions: How many solutions.
        baseline: Whether one of them is a baseline: a library's implementation.
        evaluations: How many benchmark results.
        passed: How many of them passed.
        commands: What adds what is missing, in order.
        notes: What a reader should know beside it.
    """

    kernel: str
    definition: str | None
    op_type: str
    servings: tuple[str, ...]
    layers: int
    where: str
    constants: Mapping[str, Constant] = attrs.field(factory=dict)
    verified: bool = False
    tested: bool = False
    workloads: int = 0
    solutions: int = 0
    baseline: bool = False
    evaluations: int = 0
    passed: int = 0
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The dataset's name, or the one that it would get."""
        return self.definition or self.kernel

    @property
    def have(self) -> dict[str, bool]:
        """Which of `STEPS` it has."""
        done = (
            self.definition is not None,
            self.verified,
            self.workloads > 0,
            self.baseline,
            self.passed > 0,
        )
        return dict(zip(STEPS, done, strict=True))

    @property
    def missing(self) -> tuple[str, ...]:
        """Which of `STEPS` it lacks."""
        return tuple(step for step, done in self.have.items() if not done)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**to_data(self), "missing": list(self.missing)}


@attrs.frozen
class Uncovered:
    """An op of a model that has no definition, and why.

    Attributes:
        what: The op or the class of its layers.
        reason: Why there is no definition.
        layers: How many layers are concerned.
    """

    what: str
    reason: str
    layers: int


@attrs.frozen
class ModelCoverage:
    """What a dataset has of what one model needs.

    Attributes:
        slug: The model.
        architecture: Its class; empty where it could not be extracted.
        constants: Where its config came from.
        servings: The parallel sizes that were looked at.
        needs: The definitions, by op type and name.
        uncovered: Ops without a definition.
        commands: What adds all that is missing, one command for all definitions that lack it.
        partial: What could not be elaborated or decided; `needs` may lack something because of it.
        steps: What a decode step and a prefill step launch, at the first of `servings`.
        recorded: Whether `needs` is only what the dataset itself records of the model, because the
            model could not be extracted.
    """

    slug: str
    architecture: str
    constants: str
    servings: tuple[str, ...]
    needs: tuple[Need, ...]
    uncovered: tuple[Uncovered, ...] = ()
    commands: tuple[str, ...] = ()
    partial: tuple[Remark, ...] = ()
    steps: tuple[StepShare, ...] = ()
    recorded: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many definitions it needs, and how many have what."""
        return count(self.needs)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "slug": self.slug,
            "architecture": self.architecture,
            "constants": self.constants,
            "servings": list(self.servings),
            "counts": self.counts,
            "needs": [need.to_dict() for need in self.needs],
            "commands": list(self.commands),
            "uncovered": to_data(self.uncovered),
            "partial": to_data(self.partial),
            "steps": [step.to_dict() for step in self.steps],
            "recorded": self.recorded,
        }


def count(needs: Iterable[Need]) -> dict[str, int]:
    """How many definitions there are, and how many of them have each of `STEPS`."""
    all_ = list(needs)
    return {"needed": len(all_), **{step: sum(n.have[step] for n in all_) for step in STEPS}}


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


@attrs.frozen
class CoverageReport:
    """The result of `fibcore.coverage`.

    Attributes:
        dataset: The dataset's folder.
        source: The SGLang version that the needs are derived from.
        models: The models.
        refused: Models, or combinations of parallel sizes, that could not be extracted.
        unneeded: Definitions of the dataset that none of the models needs at what was looked at,
            and that carry the tag of one of them.
        problems: Files of the dataset that are not usable.
        written: The pages.
        changed: Those of them that were written; the others were the same already.
        page: The page that was checked; None where none was.
        contradictions: What the page says and the source contradicts.
        unchecked: What of the page could not be checked, and why.
        checked: How many statements of the page were checked.
    """

    dataset: Path
    source: str
    models: tuple[ModelCoverage, ...]
    refused: tuple[Refused, ...] = ()
    unneeded: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    problems: tuple[FibcoreError, ...] = ()
    written: tuple[Path, ...] = ()
    changed: tuple[Path, ...] = ()
    page: Path | None = None
    contradictions: tuple[Contradiction, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    checked: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Totals over all models, a definition that several need counted once."""
        return count({need.name: need for model in self.models for need in model.needs}.values())

    @property
    def failures(self) -> tuple[str, ...]:
        """Why `exit_code` is not 0, one line each. Definitions that are missing are no failure."""
        lines = [f"{refused.label}: {refused.error.message}" for refused in self.refused]
        for model in self.models:
            lines += [f"{model.slug} is partial: {remark}" for remark in model.partial]
        lines += [f"{e.where}: {e.message}" if e.where else e.message for e in self.problems]
        lines += [str(contradiction) for contradiction in self.contradictions]
        return tuple(lines)

    @property
    def exit_code(self) -> int:
        """1 where the page is contradicted, or something could not be looked at."""
        return 1 if self.failures else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "dataset": str(self.dataset),
            **self.contents(),
            "written": [str(path) for path in self.written],
            "page": None if self.page is None else str(self.page),
            "checked": self.checked,
            "contradictions": to_data(self.contradictions),
            "unchecked": to_data(self.unchecked),
            "failures": list(self.failures),
            "exit_code": self.exit_code,
        }

    def contents(self) -> dict[str, Any]:
        """What the pages hold: nothing of where and when it was found."""
        return {
            "source": self.source,
            "counts": self.counts,
            "models": [model.to_dict() for model in self.models],
            "refused": [refused.to_dict() for refused in self.refused],
            "unneeded": {name: list(models) for name, models in self.unneeded.items()},
            "problems": to_data(self.problems),
        }
