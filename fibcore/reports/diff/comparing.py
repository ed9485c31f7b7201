"""Two models compared role by role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fibcore.extraction.findings import FoundModel
from fibcore.reports.diff.report import Change, ModelDiff, Occurrence
from fibcore.reports.diff.roles import Roles, without_lines


def compare(before: FoundModel, after: FoundModel) -> ModelDiff:
    """Every role in which two models differ, and the kernels that one of them alone has."""
    left, right = Roles(before).occurrences, Roles(after).occurrences
    changes: list[Change] = []
    for role in dict.fromkeys((*left, *right)):
        here, there = left.get(role, {}), right.get(role, {})
        alone = (
            tuple(o for key, o in here.items() if key not in there),
            tuple(o for key, o in there.items() if key not in here),
        )
        if any(alone):
            changes.append(_replaced(role, *alone, both=bool(here and there)))
        shared = [(occurrence, there[key]) for key, occurrence in here.items() if key in there]
        changes += _changed(role, shared)
    names = [[k.name for k in side.kernels] for side in (before, after)]
    return ModelDiff(
        before=before.report,
        after=after.report,
        kernels=tuple(name for name in names[0] if name in set(names[1])),
        vanish=tuple(name for name in names[0] if name not in set(names[1])),
        appear=tuple(name for name in names[1] if name not in set(names[0])),
        changes=tuple(changes),
    )


def _replaced(
    role: str, before: tuple[Occurrence, ...], after: tuple[Occurrence, ...], *, both: bool
) -> Change:
    if before and after:
        return Change(role, "replaced", before, after)
    # A role that runs something on both sides and one thing more on one of them.
    details = ("beside what both sides have there",) if both else ()
    return Change(role, "vanishes" if before else "appears", before, after, details)


def _changed(role: str, shared: Iterable[tuple[Occurrence, Occurrence]]) -> Iterator[Change]:
    """What both sides have in a role and differs; all that differs alike is one change."""
    groups: dict[tuple[str, ...], list[tuple[Occurrence, Occurrence]]] = {}
    for before, after in shared:
        details = tuple(_details(before, after))
        if details or (before.places, before.classes) != (after.places, after.classes):
            groups.setdefault(details, []).append((before, after))
    for details, pairs in groups.items():
        left, right = zip(*pairs, strict=True)
        yield Change(role, "changed" if details else "moved", left, right, details)


def _details(before: Occurrence, after: Occurrence) -> Iterator[str]:
    """What differs in two occurrences of one kernel (or op, or class)."""
    for name in dict.fromkeys((*before.parameters, *after.parameters)):
        one, other = before.parameters.get(name), after.parameters.get(name)
        if one != other:
            yield f"{name}: {_word(one)} -> {_word(other)}"
    if before.layers != after.layers:
        yield f"layers: {before.layers} -> {after.layers}"
    elif before.paths != after.paths:
        yield f"layers: {', '.join(before.paths)} -> {', '.join(after.paths)}"
    if without_lines(before.reason) != without_lines(after.reason):
        yield f"reason: {before.reason} -> {after.reason}"
    yield from _only("tag", before.tags, after.tags)
    yield from _only("note", before.notes, after.notes)


def _only(what: str, before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
    left, right = dict.fromkeys(before), dict.fromkeys(after)
    yield from (f"{what} gone: {text}" for text in left if text not in right)
    yield from (f"{what} new: {text}" for text in right if text not in left)


def _word(value: object) -> str:
    return "none" if value is None else str(value)
