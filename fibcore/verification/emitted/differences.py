"""How two tensors differ, element by element and in figures."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import torch


@dataclasses.dataclass(frozen=True, eq=False)
class Differences:
    """Two tensors of one shape, element by element, in float64.

    Attributes:
        actual: What came out.
        expected: What was expected.
        finite: Where both are finite.
        error: |actual - expected| where both are finite, else 0.
        allowed: The largest error that is within tolerance.
        outside: Where an element is outside: its error is larger, or one side alone is NaN, or
            one is infinite and the other is not the same infinity.
    """

    actual: torch.Tensor
    expected: torch.Tensor
    finite: torch.Tensor
    error: torch.Tensor
    allowed: torch.Tensor
    outside: torch.Tensor

    @functools.cached_property
    def strange(self) -> int:
        """How many elements are outside because they are NaN or infinite."""
        return int((self.outside & ~self.finite).sum())

    @functools.cached_property
    def all_nan(self) -> bool:
        """Whether there are elements, and every one is NaN on both sides."""
        both = self.actual.isnan() & self.expected.isnan()
        return both.numel() > 0 and bool(both.all())


def differences(
    actual: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float | torch.Tensor
) -> Differences:
    """Compare element by element: |actual - expected| <= atol + rtol * |expected| is inside."""
    a, e = actual.detach().to(torch.float64), expected.detach().to(torch.float64)
    finite = torch.isfinite(a) & torch.isfinite(e)
    error = torch.where(finite, (a - e).abs(), 0.0)
    allowed = atol + rtol * torch.where(finite, e.abs(), 0.0)
    equal = (a == e) | (a.isnan() & e.isnan())
    return Differences(a, e, finite, error, allowed, torch.where(finite, error > allowed, ~equal))


def figures_of(found: Differences) -> dict[str, Any]:
    """Counts, absolute and relative errors and cosine similarity, as evidence keeps them.

    Elements that are NaN or infinite on either side are left out of errors and similarity, which
    are None where no element is left.
    """
    compared = int(found.finite.sum())
    nonzero = found.finite & (found.expected != 0)
    relative = found.error[nonzero] / found.expected[nonzero].abs()
    a, e = found.actual[found.finite], found.expected[found.finite]
    norms = float(a.norm() * e.norm())
    cosine = float(a @ e) / norms if norms else float(torch.equal(a, e))
    return {
        "elements": found.actual.numel(),
        "outside": int(found.outside.sum()),
        "max_abs_error": three_digits(found.error.max()) if compared else None,
        "mean_abs_error": three_digits(found.error.sum() / compared) if compared else None,
        "max_rel_error": three_digits(relative.max()) if relative.numel() else None,
        "mean_rel_error": three_digits(relative.mean()) if relative.numel() else None,
        "cosine_similarity": round(cosine, 6) if compared else None,
    }


def three_digits(value: torch.Tensor | float) -> float | None:
    """Three significant digits, which a report needs; None for what is not finite."""
    number = float(value)
    return float(f"{number:.3g}") if math.isfinite(number) else None
