"""Whether an output is within tolerance of the expected one."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from fibcore.verification.emitted.differences import differences, figures_of, three_digits
from fibcore.verification.emitted.failure_text import failure_text


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How two tensors differ: figures for reports, and `text`, which people read."""

    inside: bool
    figures: dict[str, Any]
    text: str


def compare_tensors(
    actual: torch.Tensor,
    expected: torch.Tensor,
    rtol: float,
    atol: float | torch.Tensor,
    ratio: float,
) -> Comparison:
    """Compare element by element: inside is |actual - expected| <= atol + rtol * |expected|.

    NaN is equal to NaN alone, and an infinity to the same infinity alone, whatever `ratio` is.
    Where every element is NaN on both sides nothing was compared, and that is not inside.

    Args:
        actual: What came out.
        expected: What was expected, of the same shape.
        rtol: Relative tolerance.
        atol: Absolute tolerance; of each element where it is a tensor, whose largest is reported.
        ratio: The least fraction of elements that have to be inside.
    """
    found = differences(actual, expected, rtol, atol)
    figures = {**figures_of(found), "rtol": rtol, "atol": _largest(atol), "matched_ratio": ratio}
    count, outside = figures["elements"], figures["outside"]
    enough = outside == 0 or (count - outside) / count >= ratio
    inside = enough and not (found.all_nan or found.strange)
    return Comparison(inside, figures, failure_text(found, figures))


def _largest(atol: float | torch.Tensor) -> float | None:
    if not isinstance(atol, torch.Tensor):
        return atol
    return three_digits(atol.max()) if atol.numel() else 0.0
