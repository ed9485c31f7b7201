"""What a comparison found, as data: for people, for `--json` and for callers of the API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from fibcore.extraction.report import ModelReport, Refused
from fibcore.model.json import to_data
from fibcore.model.kernel import Scalar

Mode = Literal["sources", "models", "configs", "servings", "trace"]
OccurrenceKind = Literal["kernel", "not covered", "undecided", "missing", "no plugin"]
ChangeKind = Literal["appears", "vanishes", "replaced", "changed", "moved"]


@attrs.frozen
class Occurrence:
    """What one side has in one role.

    Attributes:
        kind: "kernel"; "not covered" for an op without a definition; "undecided" for what a plugin
            could not tell; "missing" for what could not be elaborated; "no plugin" for a layer
            that no installed plugin accounts for.
        what: Name of the kernel, op or class.
        op_type: Op type of a kernel.
        layers: How many layers of the role have it.
        paths: Their paths, what differs in a number alone as one: `model.layers.{0-31}.mlp`.
        places: File and line of every construction, the first one first.
        classes: Qualified class names of the layers.
        reason: Why it is no kernel.
        parameters: The kernel's constants, those that are no axis included (epsilon, sm_scale).
        tags: The kernel's tags.
        notes: What the plugin says beside it.
    """

    kind: OccurrenceKind
    what: str
    op_type: str | None
    layers: int
    paths: tuple[str, ...]
    places: tuple[str, ...]
    classes: tuple[str, ...]
    reason: str | None = None
    parameters: Mapping[str, Scalar] = attrs.field(factory=dict)
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """File and line of the first construction; empty where there is none."""
        return self.places[0] if self.places else ""


@attrs.frozen
class Change:
    """How one role differs.

    Attributes:
        role: Path pattern of the layers, `model.layers.*.self_attn.qkv_proj`.
        kind: "appears" and "vanishes" where one side has nothing there; "replaced" where the sides
            have different kernels (or a kernel and none); "changed" where both have the same one
            with other parameters, layers or reasons; "moved" where only the source lines or
            classes differ.
        before: What the first side has there.
        after: What the second side has there.
        details: What differs: `epsilon: 1e-05 -> 1e-06`.
    """

    role: str
    kind: ChangeKind
    before: tuple[Occurrence, ...]
    after: tuple[Occurrence, ...]
    details: tuple[str, ...] = ()


@attrs.frozen
class ModelDiff:
    """Two models, or one model on two sources, at one pair of parallel sizes each.

    Attributes:
        before: The first side.
        after: The second side.
        kernels: Names of the kernels that both have.
        vanish: Names of the kernels that the first side alone has.
        appear: Names of the kernels that the second side alone has.
        changes: Every role that differs, in tree order of the first side.
    """

    before: ModelReport
    after: ModelReport
    kernels: tuple[str, ...]
    vanish: tuple[str, ...]
    appear: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def label(self) -> str:
        """The two sides as people read them."""
        if self.before.label == self.after.label:
            return self.before.label
        return f"{self.before.label} -> {self.after.label}"

    @property
    def counts(self) -> dict[str, int]:
        """How many kernels both or one side have, and how many roles changed in which way."""
        kinds = Counter(change.kind for change in self.changes)
        return {
            "kernels on both sides": len(self.kernels),
            "kernels that vanish": len(self.vanish),
            "kernels that appear": len(self.appear),
            **{kind: kinds[kind] for kind in ("appears", "vanishes", "replaced", "changed")},
            "moved": kinds["moved"],
        }

    @property
    def differs(self) -> bool:
        """Whether anything but source lines differs."""
        return any(change.kind != "moved" for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "before": _side(self.before),
            "after": _side(self.after),
            "differs": self.differs,
            "counts": self.counts,
            "kernels": list(self.kernels),
            "vanish": list(self.vanish),
            "appear": list(self.appear),
            "changes": to_data(self.changes),
        }


@attrs.frozen
class Match:
    """A kernel of the models that the dump has too.

    Attributes:
        name: The kernel's name.
        traced: The name in the dump.
        file: The file of the dump.
        layers: How many layers run it.
        where: File and line that construct the first of them.
        differences: Where the dump says it otherwise; empty where all tensors are equal.
    """

    name: str
    traced: str
    file: str
    layers: int
    where: str
    differences: tuple[str, ...]


@attrs.frozen
class Unmatched:
    """A kernel that one side alone has.

    Attributes:
        name: Its name.
        op_type: Its op type.
        where: Source line of its first layer, or the file of the dump.
        layers: How many layers run it; None for one of the dump.
        reason: Why the other side lacks it, as far as that is known.
    """

    name: str
    op_type: str
    where: str
    layers: int | None
    reason: str


@attrs.frozen
class TraceDiff:
    """Static extraction against a dump of FlashInfer's tracing.

    Attributes:
        trace: The dump's folder.
        models: The models, as extraction found them.
        files: How many files of the dump were compared.
        matched: Kernels that both have.
        static_only: Kernels that the dump lacks.
        traced_only: Kernels of the dump that extraction lacks.
        broken: Files of the dump that cannot be read, one line each.
    """

    trace: str
    models: tuple[ModelReport, ...]
    files: int
    matched: tuple[Match, ...]
    static_only: tuple[Unmatched, ...]
    traced_only: tuple[Unmatched, ...]
    broken: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many kernels stand on both sides, equal or not, and on one."""
        return {
            "files": self.files,
            "matched": len(self.matched),
            "matched with differences": sum(bool(match.differences) for match in self.matched),
            "static only": len(self.static_only),
            "traced only": len(self.traced_only),
            "broken files": len(self.broken),
        }

    @property
    def differs(self) -> bool:
        """Whether a kernel stands on one side alone, or says something else there."""
        alone = self.static_only or self.traced_only
        return bool(alone) or any(match.differences for match in self.matched)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "trace": self.trace,
            "models": [_side(model) for model in self.models],
            "differs": self.differs,
            "counts": self.counts,
            "matched": to_data(self.matched),
            "static_only": to_data(self.static_only),
            "traced_only": to_data(self.traced_only),
            "broken": list(self.broken),
        }


@attrs.frozen
class DiffReport:
    """The result of `fibcore.diff`.

    Attributes:
        mode: What was compared: two "sources", two "models", two "configs" of one model, two
            "servings" of it, or a
            "trace" with static extraction.
        models: The pairs that were compared.
        trace: The comparison with a dump.
        refused: (side, model) that could not be extracted; side is "before" or "after".
        unpaired: Combinations of one side that the other side lacks, one line each.
        output: The page that was written; None where none was asked for.
    """

    mode: Mode
    models: tuple[ModelDiff, ...] = ()
    trace: TraceDiff | None = None
    refused: tuple[tuple[str, Refused], ...] = ()
    unpaired: tuple[str, ...] = ()
    output: str | None = None

    @property
    def differs(self) -> bool:
        """Whether the sides differ in more than source lines."""
        return any(m.differs for m in self.models) or (
            self.trace is not None and self.trace.differs
        )

    @property
    def failures(self) -> tuple[str, ...]:
        """Why `exit_code` is not 0, one line each; empty where both sides are whole."""
        lines = [f"{_of(side)}{r.label}: {r.error.message}" for side, r in self.refused]
        lines += self.unpaired
        for pair in self.models:
            for side, model in (("before", pair.before), ("after", pair.after)):
                lines += _partial(model, _of(side))
        if self.trace is not None:
            for model in self.trace.models:
                lines += _partial(model, "")
            lines += self.trace.broken
        return tuple(lines)

    @property
    def exit_code(self) -> int:
        """0 where everything was compared, whether it differs or not; 1 where a side is partial."""
        return 1 if self.failures else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "mode": self.mode,
            "differs": self.differs,
            "models": [model.to_dict() for model in self.models],
            "trace": None if self.trace is None else self.trace.to_dict(),
            "refused": [{"side": side, **refused.to_dict()} for side, refused in self.refused],
            "unpaired": list(self.unpaired),
            "failures": list(self.failures),
            "output": self.output,
            "exit_code": self.exit_code,
        }


def _of(side: str) -> str:
    return f"{side}: "


def _side(model: ModelReport) -> dict[str, Any]:
    return {
        "model": model.slug,
        "architecture": model.architecture,
        "constants": model.constants,
        "source": model.source,
        "tp": model.tp,
        "ep": model.ep,
        "served": model.served,
        "complete": model.complete,
        "errors": to_data(model.errors),
    }


def _partial(model: ModelReport, side: str) -> list[str]:
    if model.complete:
        return []
    parts = [
        f"{count} {what}"
        for count, what in (
            (sum(missing.layers for missing in model.missing), "missing from the model tree"),
            (len(model.problems), "undecided"),
            (len(model.errors), "failed in a plugin"),
        )
        if count
    ]
    return [f"{side}{model.label} is partial: {', '.join(parts)}"]
