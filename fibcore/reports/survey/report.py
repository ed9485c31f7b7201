"""What a survey found, as data: for people, for `--json` and for callers of the API."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal

import attrs

from fibcore.model.json import to_data
from fibcore.reports.launches import LaunchTotals, StepShare

State = Literal["whole", "partial", "refused", "failed", "no config"]
STATES: tuple[State, ...] = ("whole", "partial", "refused", "failed", "no config")
"""From the best to the worst; what has no config is last, for nothing is known of it."""

_SIZE = re.compile(r"(?<=\s)\d+(?:\.\d+)?(?=\s|,|\)|$)")


@attrs.frozen
class Reason:
    """Why a model is not whole.

    Attributes:
        kind: "missing" (from the model tree), "undecided" (by a plugin), "refused", "plugin" (one
            failed), "exception" (a defect), "timeout", "process" (it died), "no config".
        where: The module, the source line, the config key or the place in fibcore concerned.
        text: The reason, with file and line of the source where there is one.
        layers: How many layers are concerned.
    """

    kind: str
    where: str
    text: str
    layers: int = 1

    def __str__(self) -> str:
        count = f" ({self.layers} layers)" if self.layers > 1 else ""
        return f"{self.where}: {self.text}{count}" if self.where else f"{self.text}{count}"


@attrs.frozen
class NeededDefinition:
    """A kernel definition that a model needs, and how many of its layers run it."""

    name: str
    op_type: str
    layers: int


@attrs.frozen
class MissingOp:
    """An op without a definition.

    Attributes:
        op: A leaf class that no plugin accounts for, or what a plugin calls the op.
        layers: How many layers of the model run it.
        reason: Why the plugin that knows the op has no definition of it; "" where none knows it.
    """

    op: str
    layers: int
    reason: str = ""


@attrs.frozen
class SurveyedModel:
    """One model of the survey, or an architecture without a config.

    Attributes:
        architecture: The model class.
        file: The model file that registers it, `llama` for `srt/models/llama.py`.
        model: The model's slug; for the defaults of a config class the architecture.
        origin: Where the config is from: `file:PATH`, `catalogue:SLUG`, `class:MODEL_TYPE`, or
            "" where there is none.
        state: "whole", "partial", "refused", "failed" or "no config".
        tp: Tensor-parallel size.
        ep: Expert-parallel size.
        reasons: Why it is not whole.
        layers: Path to length of the model's lists of layers.
        definitions: The definitions that it needs.
        not_covered: The ops that no definition describes, the most frequent first.
        notes: What a reader should know beside it.
        steps: What a decode step and a prefill step launch.
        seconds: How long it took.
    """

    architecture: str
    file: str
    model: str
    origin: str
    state: State
    tp: int = 1
    ep: int = 1
    reasons: tuple[Reason, ...] = ()
    layers: Mapping[str, int] = attrs.field(factory=dict)
    definitions: tuple[NeededDefinition, ...] = ()
    not_covered: tuple[MissingOp, ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[StepShare, ...] = ()
    seconds: float = 0.0

    @property
    def op_types(self) -> dict[str, int]:
        """Op type to number of definitions, by name."""
        return dict(sorted(Counter(d.op_type for d in self.definitions).items()))

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the time that it took, which differs from run to run."""
        data = to_data(self)
        del data["seconds"]
        steps = [step.to_dict() for step in self.steps]
        return {**data, "op_types": self.op_types, "steps": steps}


@attrs.frozen
class Shared:
    """Something that models need.

    Attributes:
        name: The definition, or the family of ops; see `family`.
        models: The models, in the order of the table.
        layers: How many of their layers run it, in all.
        variants: The ops of the family; empty for a definition.
    """

    name: str
    models: tuple[str, ...]
    layers: int
    variants: tuple[str, ...] = ()


@attrs.frozen
class Unused:
    """A file in a folder of configs that gave no row, and why."""

    path: str
    reason: str
    broken: bool = False


@attrs.frozen(slots=False)  # cached properties need a __dict__
class SurveyReport:
    """The result of `fibcore.survey`.

    Attributes:
        source: Version or commit of the SGLang source, and where it lies.
        rows: The models, by architecture.
        unused: Files in folders of configs that gave no row.
        output: The folder of the written files.
        served: How all models are served, where a launch line or a GPU says it.
        skipped_plugins: Installed plugins that were left out, and why.
        seconds: How long all of it took.
    """

    source: str
    rows: tuple[SurveyedModel, ...]
    unused: tuple[Unused, ...] = ()
    output: str = ""
    served: str = ""
    skipped_plugins: tuple[str, ...] = ()
    seconds: float = 0.0

    @cached_property
    def architectures(self) -> dict[str, State]:
        """Architecture to its state, which is that of its worst model."""
        states: dict[str, State] = {}
        # A defect weighs most: it says least about the model.
        order = ("no config", "whole", "partial", "refused", "failed")
        for row in self.rows:
            before = states.get(row.architecture, "no config")
            states[row.architecture] = max(before, row.state, key=order.index)
        return states

    @property
    def counts(self) -> dict[str, int]:
        """State to number of architectures, then the number of all of them."""
        found = Counter(self.architectures.values())
        return {**{s: found[s] for s in STATES}, "architectures": len(self.architectures)}

    @property
    def percentages(self) -> dict[str, float]:
        """State to its share of the architectures that a config can be had for, in percent."""
        counts = self.counts
        known = counts["architectures"] - counts["no config"]
        return {s: round(100 * counts[s] / known, 1) if known else 0.0 for s in STATES[:-1]}

    @property
    def launches(self) -> dict[str, LaunchTotals]:
        """Stage to how many launches of all models together have a definition, or need none."""
        found: dict[str, LaunchTotals] = {}
        for step in (step for row in self.rows for step in row.steps):
            so_far = found.get(step.stage, LaunchTotals())
            found[step.stage] = LaunchTotals(
                so_far.defined + step.launches["defined"],
                so_far.moves + step.moves,
                so_far.all + step.total,
            )
        return found

    @cached_property
    def definitions(self) -> tuple[Shared, ...]:
        """The definitions that the models need, those of most models first."""
        return _shared((r.model, d.name, d.layers) for r in self.rows for d in r.definitions)

    @property
    def shared_definitions(self) -> tuple[Shared, ...]:
        """The definitions of several models, those of most models first."""
        return tuple(d for d in self.definitions if len(d.models) > 1)

    @cached_property
    def not_covered(self) -> tuple[Shared, ...]:
        """The families of ops without a definition, the most wanted first.

        That is by models, then by layers. Ops that differ in a size alone are one family.
        """
        found = _shared((r.model, family(o.op), o.layers) for r in self.rows for o in r.not_covered)
        variants: dict[str, dict[str, None]] = {}
        for row in self.rows:
            for op in row.not_covered:
                variants.setdefault(family(op.op), {})[op.op] = None
        return tuple(attrs.evolve(s, variants=tuple(sorted(variants[s.name]))) for s in found)

    @property
    def op_types(self) -> tuple[str, ...]:
        """The op types of all definitions, by name."""
        return tuple(sorted({d.op_type for r in self.rows for d in r.definitions}))

    @property
    def failures(self) -> tuple[str, ...]:
        """Why `exit_code` is not 0, one line each: what failed, and files that cannot be read."""
        lines = [
            f"{row.model} failed: {'; '.join(map(str, row.reasons))}"
            for row in self.rows
            if row.state == "failed"
        ]
        return (*lines, *(f"{u.path}: {u.reason}" for u in self.unused if u.broken))

    @property
    def exit_code(self) -> int:
        """1 where a model failed or a file cannot be read; partial and refused models are found."""
        return 1 if self.failures else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the same for the same input."""
        return {
            "source": self.source,
            "counts": self.counts,
            "percentages": self.percentages,
            "op_types": list(self.op_types),
            "launches": {stage: attrs.asdict(total) for stage, total in self.launches.items()},
            "rows": [row.to_dict() for row in self.rows],
            "definitions": to_data(self.definitions),
            "not_covered": to_data(self.not_covered),
            "unused": to_data(self.unused),
            "skipped_plugins": list(self.skipped_plugins),
            "failures": list(self.failures),
            "exit_code": self.exit_code,
        }

    def timings(self) -> dict[str, Any]:
        """Seconds in all and of each model, the slowest first."""
        slow = sorted(self.rows, key=lambda r: (-r.seconds, r.model))
        return {
            "seconds": round(self.seconds, 3),
            "models": {r.model: round(r.seconds, 3) for r in slow if r.seconds},
        }


def family(op: str) -> str:
    """An op without its sizes: `gqa_paged with sliding window 512` and `... 4096` are `... N`.

    A plugin's words may hold sizes; the name of a class, which is one word, is left as it is.
    """
    return _SIZE.sub("N", op)


def _shared(needs: Iterable[tuple[str, str, int]]) -> tuple[Shared, ...]:
    models: dict[str, dict[str, None]] = {}
    layers: Counter[str] = Counter()
    for model, name, count in needs:
        models.setdefault(name, {})[model] = None
        layers[name] += count
    found = (Shared(name, tuple(users), layers[name]) for name, users in models.items())
    return tuple(sorted(found, key=lambda s: (-len(s.models), -s.layers, s.name)))
