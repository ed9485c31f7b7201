"""What a certificate says, how it follows from measurements, and its file and exports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from fibcore.benchmarking.certificates.choosing import Tolerance, choose, largest, nearest
from fibcore.benchmarking.certificates.worker import ATOLS, RTOLS, Table
from fibcore.model.definition import Definition
from fibcore.model.json import to_data

FOLDER = "reports/certificates"
YAML = f"{FOLDER}/flashinfer-bench.yaml"
"""The evaluation settings of all certified definitions, as flashinfer-bench reads them."""

AGREED = 0.05
"""The largest error of a reference against its own float64 evaluation, as a part of the output's
root mean square: beyond it, one of the two is wrong."""

SAME = 1.1
"""A wrong implementation is as right as the right ones where its error is at most theirs times
this: the input does not show the mistake."""


@attrs.frozen
class Tried:
    """An implementation on one workload.

    Attributes:
        name: The implementation.
        kind: "reference", "variant", "flashinfer", "sglang", "torch" or "wrong".
        right: Whether it has to be accepted.
        verdict: "accepted" or "rejected" at the workload's tolerance; "same" for a wrong one whose
            error is no larger than that of right ones; "undecided" where there is no tolerance.
        missed: The part of the elements that misses that tolerance; None where there is none.
        plain: The part that misses rtol and atol of 1e-2.
        errors: Output to its error against float64: "max", "rms", and "relative" to the output's
            root mean square; None for what is no number.
        version: Whose version it is, for ground truths.
        raised: What a wrong one raised.
    """

    name: str
    kind: str
    right: bool
    verdict: str
    missed: float | None
    plain: float
    errors: Mapping[str, Mapping[str, float | None]]
    version: str | None = None
    raised: str | None = None


@attrs.frozen
class OnWorkload:
    """What was found on one workload.

    Attributes:
        uuid: The workload.
        axes: Its sizes.
        tolerance: One that separates right from wrong here; None where none does.
        tried: The implementations.
    """

    uuid: str
    axes: Mapping[str, int]
    tolerance: Tolerance | None
    tried: tuple[Tried, ...]

    def names(self, verdict: str, *, right: bool) -> list[str]:
        """The right or the wrong implementations that have a verdict."""
        return [one.name for one in self.tried if (one.right, one.verdict) == (right, verdict)]

    def count(self, *, right: bool) -> int:
        """How many right or wrong implementations were tried."""
        return sum(one.right is right for one in self.tried)


@attrs.frozen
class Certificate:
    """Whether the workloads of a definition tell right from wrong.

    Attributes:
        definition: Its name.
        op_type: Its op type.
        reference_sha256: The reference that it is about.
        certified: Whether every workload has a tolerance that accepts every right implementation
            and rejects every wrong one whose mistake it shows, each mistake is shown by some
            workload, and the definition has a tolerance.
        tolerance: One for all workloads: it accepts every right implementation on each, and rejects
            every wrong one on each that shows its mistake, or, where no tolerance does, on one at
            least. None where none does that.
        slips: Wrong implementation to the workloads on which it passes at that tolerance, though
            they show its mistake.
        reasons: Why it is not certified, with figures.
        seed: Of the random inputs.
        machine: Device and software.
        workloads: What was found on each.
        left_out: Ground truths that did not run here, and why.
        not_tried: Uuids of workloads that were left out, and why.
        figures: Outputs that are compared by what they stand for: indices by the scores of what
            they name, bytes by numbers. The tolerance is one of those, and no benchmark's.
        yardstick: What errors are against: "float64", or the ground truth that stands in for it.
    """

    definition: str
    op_type: str
    reference_sha256: str
    certified: bool
    tolerance: Tolerance | None
    slips: Mapping[str, tuple[str, ...]]
    reasons: tuple[str, ...]
    seed: int
    machine: Mapping[str, str]
    workloads: tuple[OnWorkload, ...]
    left_out: Mapping[str, str]
    not_tried: Mapping[str, str]
    figures: tuple[str, ...] = ()
    yardstick: str = "float64"

    @property
    def path(self) -> str:
        """Its file, relative to the dataset."""
        return f"{FOLDER}/{self.definition}.json"

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain data."""
        data: dict[str, Any] = to_data(self)
        return data


@attrs.frozen
class Measured:
    """What a worker said of a workload: what follows its axes is the answer's."""

    uuid: str
    axes: Mapping[str, int]
    implementations: Sequence[Mapping[str, Any]]
    machine: Mapping[str, str]
    figures: Sequence[str] = ()
    yardstick: str = "float64"

    def tables(self, *, right: bool) -> list[Table]:
        """The tables of `separable`."""
        return [one["missed"] for one in self.separable(right=right)]

    def separable(self, *, right: bool) -> list[Mapping[str, Any]]:
        """Those that ran and that a tolerance has to accept, or to reject."""
        same = self.same
        return [
            one
            for one in self.ran
            if one["missed"] is not None and one["right"] is right and one["name"] not in same
        ]

    @property
    def ran(self) -> list[Mapping[str, Any]]:
        """All but the right ones that could not run here."""
        return [one for one in self.implementations if "left_out" not in one]

    @property
    def same(self) -> frozenset[str]:
        """The wrong ones that are no further from float64 than right ones are."""
        ran = [one for one in self.ran if one["missed"] is not None]
        limits = _largest(one["errors"] for one in ran if one["right"])
        return frozenset(
            one["name"] for one in ran if not one["right"] and _within(one["errors"], limits)
        )


def certify_measured(
    definition: Definition,
    measured: Sequence[Measured],
    seed: int,
    not_tried: Mapping[str, str],
    reasons: Iterable[str] = (),
) -> Certificate:
    """The certificate that follows from what was measured."""
    workloads = tuple(_on(one) for one in measured)
    tolerance = _common(measured)
    problems = [*reasons, *_unseen(measured)]
    problems += [
        f"workload {one.uuid}: no tolerance separates right from wrong: {_mixed([one])}"
        for one, on in zip(measured, workloads, strict=True)
        if on.tolerance is None
    ]
    if measured and tolerance is None and not problems:
        problems.append(f"no tolerance is right for all workloads: {_mixed(measured)}")
    return Certificate(
        definition=definition.name,
        op_type=definition.op_type,
        reference_sha256=definition.reference_hash,
        certified=tolerance is not None and not problems,
        tolerance=tolerance,
        slips={} if tolerance is None else _slips(measured, tolerance),
        reasons=tuple(problems),
        seed=seed,
        machine=measured[0].machine if measured else {},
        workloads=workloads,
        left_out={
            one["name"]: one["left_out"]
            for found in measured
            for one in found.implementations
            if "left_out" in one
        },
        not_tried=not_tried,
        figures=tuple(sorted({name for one in measured for name in one.figures})),
        yardstick=measured[0].yardstick if measured else "float64",
    )


def _common(measured: Sequence[Measured]) -> Tolerance | None:
    """One tolerance for all workloads, which rejects wrong ones everywhere if that can be."""
    right = [table for one in measured for table in one.tables(right=True)]
    wrong = [table for one in measured for table in one.tables(right=False)]
    everywhere = choose(right, wrong)
    if everywhere is not None:
        return everywhere
    # A solution that fails on one workload has failed: it is enough that one rejects it.
    shown: dict[str, list[Table]] = {}
    for on in measured:
        for one in on.separable(right=False):
            shown.setdefault(one["name"], []).append(one["missed"])
    return choose(right, [largest(tables) for tables in shown.values()], hopefully=wrong)


def _slips(measured: Sequence[Measured], tolerance: Tolerance) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for on in measured:
        for one in on.separable(right=False):
            if tolerance.accepts(one["missed"]):
                found[one["name"]] = (*found.get(one["name"], ()), on.uuid)
    return found


def _on(measured: Measured) -> OnWorkload:
    own = choose(measured.tables(right=True), measured.tables(right=False))
    same = measured.same
    tried = []
    for one in measured.ran:
        table = one["missed"]
        verdict = "undecided"
        if table is None:
            verdict = "rejected"
        elif one["name"] in same:
            verdict = "same"
        elif own is not None:
            verdict = "accepted" if own.accepts(table) else "rejected"
        missed = None if own is None or table is None else own.missed(table)
        tried.append(
            Tried(
                *(one["name"], one["kind"], one["right"], verdict, missed),
                *(one["plain"], one["errors"], one.get("version"), one.get("raised")),
            )
        )
    return OnWorkload(measured.uuid, measured.axes, own, tuple(tried))


def _unseen(measured: Sequence[Measured]) -> list[str]:
    """Sentences on what no workload tells: mistakes, and whether there are any to be told."""
    if not measured:
        return ["no workload was measured"]
    found = [
        f"workload {on.uuid}: the right '{one['name']}' raised {one['left_out']}"
        for on in measured
        for one in on.implementations
        if "left_out" in one and one["kind"] == "variant"
    ]
    found += [
        f"workload {on.uuid}: the reference is {figures['relative']} from float64 in {output}"
        for on in measured
        for one in on.ran
        if one["kind"] == "reference"
        for output, figures in one["errors"].items()
        if figures["relative"] is None or figures["relative"] > AGREED
    ]
    shown: dict[str, bool] = {}
    for on in measured:
        for one in on.ran:
            if not one["right"]:
                seen = one["name"] not in on.same
                shown[one["name"]] = shown.get(one["name"], False) or seen
        if "zeros" in on.same:
            found.append(f"workload {on.uuid}: zeros are as near to float64 as a right result")
    found += [f"no workload shows the mistake: {name}" for name, seen in shown.items() if not seen]
    if not shown.keys() - {"zeros"}:
        found.append("the plugin has no wrong implementation of this definition")
    if all(len(on.tables(right=True)) < 2 for on in measured):
        found.append("no right implementation but the reference ran")
    return found


def _mixed(measured: Sequence[Measured]) -> str:
    """Where right and wrong are least mixed, and which of them are mixed there."""
    sides = {
        right: [(one, on) for on in measured for one in on.separable(right=right)]
        for right in (True, False)
    }
    if not all(sides.values()):
        return "one of the two is missing"
    r, a = nearest(*([one["missed"] for one, _ in sides[right]] for right in (True, False)))
    good, good_on = max(sides[True], key=lambda each: float(each[0]["missed"][r][a]))
    bad, bad_on = min(sides[False], key=lambda each: float(each[0]["missed"][r][a]))
    return (
        f"at rtol {RTOLS[r]:.2g}, atol {ATOLS[a]:.2g} the right '{good['name']}' misses "
        f"{good['missed'][r][a]:.3%} (workload {good_on.uuid}), the wrong '{bad['name']}' "
        f"{bad['missed'][r][a]:.3%} (workload {bad_on.uuid})"
    )


Errors = Mapping[str, Mapping[str, Any]]


def _largest(errors: Iterable[Errors]) -> dict[str, dict[str, float]]:
    """Output to the largest "max" and "rms" of several implementations."""
    found: dict[str, dict[str, float]] = {}
    for one in errors:
        for output, figures in one.items():
            own = found.setdefault(output, {"max": 0.0, "rms": 0.0})
            for key in own:
                own[key] = max(own[key], figures[key] or 0.0)
    return found


def _within(errors: Errors, limits: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether no figure is larger than the limits' times `SAME`."""
    return all(
        figures[key] is not None and figures[key] <= SAME * limits.get(output, {}).get(key, 0.0)
        for output, figures in errors.items()
        for key in ("max", "rms")
    )


def settings(certificates: Iterable[Mapping[str, Any]]) -> str:
    """flashinfer-bench's evaluation settings of the certified definitions, as YAML.

    Args:
        certificates: Certificates as plain data.
    """
    lines = ["# Tolerances that tell right from wrong; the certificates beside this file say how."]
    # What outputs stand for, flashinfer-bench does not compare.
    found = [c for c in certificates if c["certified"] and not c.get("figures")]
    lines.append("definition_config:" if found else "definition_config: {}")
    for one in sorted(found, key=lambda c: str(c["definition"])):
        lines.append(f"  {one['definition']}:")
        keys = ("rtol", "atol", "required_matched_ratio")
        lines += [f"    {key}: {_number(one['tolerance'][key])}" for key in keys]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """A number that YAML reads as one: it has a point before an exponent."""
    text = repr(float(value))
    mantissa, e, exponent = text.partition("e")
    return text if not e or "." in mantissa else f"{mantissa}.0e{exponent}"
