"""The text of a comparison that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from fibcore.verification.emitted.differences import Differences

WORST_SHOWN = 5


def failure_text(found: Differences, figures: Mapping[str, Any]) -> str:
    """Figures, what was not comparable, and the worst elements; a line each.

    Args:
        found: The two tensors, element by element.
        figures: Theirs, with `rtol`, `atol` and `matched_ratio`.
    """
    count, outside = figures["elements"], figures["outside"]
    tolerance = f"rtol {figures['rtol']:g}, atol {figures['atol']:g}"
    ratio = f"at least {figures['matched_ratio']:.0%} of the elements inside"
    lines = [
        f"outside tolerance: {outside} of {count} elements ({outside / max(count, 1):.3%})",
        f"tolerance: {tolerance}, {ratio}",
        f"absolute error: max {figures['max_abs_error']}, mean {figures['mean_abs_error']}",
        f"relative error: max {figures['max_rel_error']}, mean {figures['mean_rel_error']}",
        f"cosine similarity: {figures['cosine_similarity']}",
    ]
    if found.strange:
        lines.append(
            f"NaN or infinite on one side only, or of other sign: {found.strange} elements"
        )
    if found.all_nan:
        lines.append("every element is NaN on both sides: nothing was compared")
    if outside:
        lines.append("worst elements:")
        lines += _worst(found, min(WORST_SHOWN, outside))
    return "\n".join("  " + line for line in lines)


def _worst(found: Differences, count: int) -> Iterator[str]:
    """The elements that are farthest outside; NaN and infinite ones come first."""
    excess = torch.where(found.finite, found.error - found.allowed, torch.inf)
    excess = torch.where(found.outside, excess, -torch.inf).reshape(-1)
    actual, expected = found.actual.reshape(-1), found.expected.reshape(-1)
    for flat in torch.topk(excess, count).indices.tolist():
        index = [int(i) for i in torch.unravel_index(torch.tensor(flat), found.actual.shape)]
        got, want = float(actual[flat]), float(expected[flat])
        yield f"  {index}: got {got:.6g}, expected {want:.6g}"
