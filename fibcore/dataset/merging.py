"""Two definitions of one kernel made one, and the differences between two that are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from fibcore.model.definition import Definition

VERIFIED = "status:verified"
UNVERIFIED = "status:unverified"

Variant = Callable[[Definition], str]


@attrs.frozen
class Difference:
    """One field in which two definitions differ.

    Attributes:
        field: Its JSON path without `$.`: `axes.page_size`, `reference`, `inputs (order)`.
        kept: What the definition that was there first has; None where it lacks the field.
        new: What the other one has.
    """

    field: str
    kept: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.kept!r} against {self.new!r}"


def merge(kept: Definition, new: Definition, *, update: bool = False) -> Definition:
    """`kept` with the tags of `new`, which is the same kernel.

    Name, description, axes, constraints and reference are those of `kept`; with `update` all but
    the name are those of `new`. The status follows the reference: where the reference stays, so
    does its status; a reference that came in new is as verified as `new` says.
    """
    base = attrs.evolve(new, name=kept.name) if update else kept
    tags = {t for t in (*kept.tags, *new.tags) if not t.startswith("status:")}
    tags |= set(_status(kept, new, base.reference))
    return attrs.evolve(base, tags=tuple(sorted(tags)))


def _status(kept: Definition, new: Definition, reference: str) -> set[str]:
    """The status tags that say the truth about `reference`, which is that of one of the two."""
    old, offered = (
        {f"status:{s}" for s in definition.tag_values("status")} for definition in (kept, new)
    )
    if reference != kept.reference:  # an update
        return offered or ({UNVERIFIED} if old else set())
    if new.reference != reference:
        offered = {UNVERIFIED} if offered else set()
    if not old or (old == {UNVERIFIED} and offered == {VERIFIED}):
        return offered
    return old


def differences(kept: Definition, new: Definition, variant: Variant) -> tuple[Difference, ...]:
    """Every field in which the two differ, names and tags apart, in the order of the format."""
    left, right = kept.to_dict(), new.to_dict()
    found = [
        Difference(key, left.get(key), right.get(key))
        for key in ("description", "op_type")
        if left.get(key) != right.get(key)
    ]
    for key in ("axes", "inputs", "outputs"):
        found += _in_mapping(key, left[key], right[key])
    if left.get("constraints") != right.get("constraints"):
        found.append(Difference("constraints", left.get("constraints"), right.get("constraints")))
    if kept.op_type == new.op_type and variant(kept) != variant(new):
        found.append(Difference("(function)", variant(kept), variant(new)))
    if kept.reference != new.reference:
        hashes = (f"sha256:{d.reference_hash}" for d in (kept, new))
        found.append(Difference("reference", *hashes))
    return tuple(found)


def _in_mapping(key: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    names = list(dict.fromkeys((*left, *right)))
    found = [
        Difference(f"{key}.{name}", left.get(name), right.get(name))
        for name in names
        if left.get(name) != right.get(name)
    ]
    # The order of axes means nothing; that of inputs and outputs is the order of parameters.
    orders = [[n for n in given if n in left and n in right] for given in (left, right)]
    if key != "axes" and orders[0] != orders[1]:
        found.append(Difference(f"{key} (order)", list(left), list(right)))
    return found


def reference_diff(kept: Definition, new: Definition) -> list[str]:
    """The references' differing lines as a unified diff."""
    import difflib  # for conflicts alone

    return list(
        difflib.unified_diff(
            kept.reference.splitlines(),
            new.reference.splitlines(),
            kept.name,
            new.name,
            lineterm="",
            n=2,
        )
    )
