"""Several plugins about one model: what one does not cover gives way to what another covers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from fibcore.model.kernel import Extraction, NotCovered, Use

Named = tuple[str, Extraction]
"""A plugin's name, and what it found."""


@attrs.frozen
class _Cover:
    """A kernel at one module, or one that a module is a part of.

    Attributes:
        plugin: The plugin that found it.
        op_type: Its op type; empty where the module is a part of a kernel at another one.
        whole: Whether the plugin accounts for the module with it.
    """

    plugin: str
    op_type: str
    whole: bool


def agreed(extractions: Sequence[Named]) -> tuple[Named, ...]:
    """What plugins found in one tree, without gaps that another one's kernels close.

    A gap is closed layer by layer: those that have no kernel stay, and a gap without any is gone.
    A plugin's own kernels close none of its gaps, of which it knows best.
    """
    if not any(extraction.not_covered for _, extraction in extractions):
        return tuple(extractions)
    covers = _covers(extractions)
    return tuple(
        (plugin, attrs.evolve(e, not_covered=tuple(_left(e.not_covered, plugin, covers))))
        for plugin, e in extractions
    )


def _covers(extractions: Iterable[Named]) -> dict[str, list[_Cover]]:
    """Path of a module to the kernels that it runs."""
    found: dict[str, list[_Cover]] = {}
    for plugin, extraction in extractions:
        for kernel in extraction.kernels:
            for use in kernel.uses:
                whole = use.path in extraction.claimed
                found.setdefault(use.path, []).append(_Cover(plugin, kernel.op_type, whole))
        for path in _accounted(extraction):
            found.setdefault(path, []).append(_Cover(plugin, "", whole=True))
    return found


def _accounted(extraction: Extraction) -> set[str]:
    """Modules that a plugin accounts for by a kernel that it found at another one.

    One kernel normalises queries and keys and turns them: three modules, whose kernel is at one.
    """
    if not extraction.kernels:
        return set()
    uses = [
        *(kernel.uses for kernel in extraction.kernels),
        *(gap.uses for gap in extraction.not_covered),
        *(problem.uses for problem in extraction.problems),
    ]
    return set(extraction.claimed) - {use.path for several in uses for use in several}


def _left(
    gaps: Iterable[NotCovered], plugin: str, covers: dict[str, list[_Cover]]
) -> Iterable[NotCovered]:
    """The gaps of a plugin that are left, with the layers that are."""
    for gap in gaps:
        uses = tuple(use for use in gap.uses if not _closed(gap, use, plugin, covers))
        if uses or not gap.uses:
            yield gap if len(uses) == len(gap.uses) else attrs.evolve(gap, uses=uses)


def _closed(gap: NotCovered, use: Use, plugin: str, covers: dict[str, list[_Cover]]) -> bool:
    """Whether a kernel of another plugin is what a gap is about, at one layer."""
    return any(
        cover.plugin != plugin
        and (cover.whole if gap.op_types is None else cover.op_type in gap.op_types)
        for cover in covers.get(use.path, ())
    )
