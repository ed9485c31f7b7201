"""A model's kernels by role: what each place of the module hierarchy runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

from fibcore.extraction.findings import FoundModel
from fibcore.model.kernel import Kernel, Scalar, Use
from fibcore.model.layer_paths import group_uses
from fibcore.model.tree import SourcePlace
from fibcore.reports.diff.report import Occurrence, OccurrenceKind

WHOLE_MODEL = "(the model)"
"""The role of what concerns no single layer."""

_LINE = re.compile(r"(?<=\.py):\d+")
_NOWHERE = SourcePlace("", 0)


def role_of(path: str) -> str:
    """The path pattern of a layer: `model.layers.*.mlp` for `model.layers.3.mlp`."""
    return ".".join("*" if part.isdecimal() else part for part in path.split(".")) or WHOLE_MODEL


def without_lines(text: str | None) -> str | None:
    """A reason without the line numbers in it, which any other version has elsewhere."""
    return None if text is None else _LINE.sub("", text)


class Roles:
    """What one model runs in each role, in tree order.

    Attributes:
        occurrences: Role to what is there, by kind and name.
    """

    def __init__(self, model: FoundModel) -> None:
        self.occurrences: dict[str, dict[tuple[OccurrenceKind, str], Occurrence]] = {}
        for kernel in model.kernels:
            self._add("kernel", kernel.name, kernel.uses, kernel=kernel)
        for gap in model.not_covered:
            self._add("not covered", gap.what, gap.uses, reason=gap.reason)
        for problem in model.problems:
            self._add("undecided", problem.what, problem.uses, reason=problem.reason)
        missing: dict[str, list[Use]] = {}
        for part in model.missing:
            use = Use(part.path, "", part.place or _NOWHERE)
            missing.setdefault(part.reason, []).append(use)
        for reason, uses in missing.items():
            self._add("missing", "missing part", uses, reason=reason)
        unclaimed: dict[str, list[Use]] = {}
        for use in model.unclaimed:
            unclaimed.setdefault(use.cls.rpartition(".")[2], []).append(use)
        for cls, uses in unclaimed.items():
            self._add("no plugin", cls, uses)

    def _add(
        self,
        kind: OccurrenceKind,
        what: str,
        uses: Iterable[Use],
        *,
        reason: str | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        roles: dict[str, list[Use]] = {}
        for use in uses:
            roles.setdefault(role_of(use.path), []).append(use)
        for role, there in (roles or {WHOLE_MODEL: []}).items():
            known = self.occurrences.setdefault(role, {})
            before = known.get((kind, what))
            known[kind, what] = _occurrence(kind, what, there, reason, kernel, before)


def _occurrence(
    kind: OccurrenceKind,
    what: str,
    uses: list[Use],
    reason: str | None,
    kernel: Kernel | None,
    before: Occurrence | None,
) -> Occurrence:
    """What is there; `before` is what was there under the same name and is joined to it."""
    paths = tuple(paths for paths, _, _ in group_uses(uses))
    places = dict.fromkeys(str(use.place) for use in uses if use.place.file)
    classes = dict.fromkeys(use.cls for use in uses if use.cls)
    layers = len({use.path for use in uses})
    if before is not None:
        reasons = dict.fromkeys(r for r in (before.reason, reason) if r)
        return attrs.evolve(
            before,
            layers=before.layers + layers,
            paths=_joined(before.paths, paths),
            places=_joined(before.places, places),
            classes=_joined(before.classes, classes),
            reason="; ".join(reasons) or None,
        )
    return Occurrence(
        kind=kind,
        what=what,
        op_type=None if kernel is None else kernel.op_type,
        layers=layers,
        paths=paths,
        places=tuple(places),
        classes=tuple(classes),
        reason=reason,
        parameters={} if kernel is None else _constants(kernel),
        tags=() if kernel is None else tuple(sorted(kernel.tags)),
        notes=() if kernel is None else kernel.notes,
    )


def _joined(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _constants(kernel: Kernel) -> Mapping[str, Scalar]:
    """A kernel's parameters, and what it has proof for beside them (sm_scale)."""
    return {**{name: fact.value for name, fact in kernel.facts.items()}, **kernel.parameters}
