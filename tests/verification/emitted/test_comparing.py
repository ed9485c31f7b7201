"""What is within tolerance."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.comparing import Comparison, compare_tensors  # noqa: E402 - needs torch

NAN, INF = float("nan"), float("inf")


def compare(a: list[float], e: list[float], ratio: float = 1.0, atol: float = 0.1) -> Comparison:
    return compare_tensors(torch.tensor(a), torch.tensor(e), 0.0, atol, ratio)


@pytest.mark.parametrize(
    ("actual", "expected", "inside"),
    [
        ([1.0, 2.0], [1.0, 2.05], True),
        ([1.0, 2.0], [1.0, 2.2], False),
        ([NAN, 1.0], [NAN, 1.0], True),
        ([NAN, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [NAN, 1.0], False),
        ([-INF, 1.0], [-INF, 1.0], True),
        ([INF, 1.0], [-INF, 1.0], False),
        ([INF, 1.0], [1.0, 1.0], False),
        ([-INF], [-INF], True),
        ([NAN, NAN], [NAN, NAN], False),  # nothing was compared
        ([], [], True),
    ],
)
def test_inside(actual: list[float], expected: list[float], inside: bool) -> None:
    assert compare(actual, expected).inside is inside


def test_tolerance_is_relative_to_the_expected_value() -> None:
    one, other = torch.tensor([100.0]), torch.tensor([110.5])
    assert compare_tensors(one, other, 0.1, 0.0, 1.0).inside
    assert not compare_tensors(other, one, 0.1, 0.0, 1.0).inside


def test_ratio_forgives_a_share_but_no_nan() -> None:
    expected = [0.0] * 20
    assert compare([1.0] * 3 + [0.0] * 17, expected, ratio=0.85).inside
    assert not compare([1.0] * 4 + [0.0] * 16, expected, ratio=0.85).inside
    assert not compare([NAN] + [0.0] * 19, expected, ratio=0.85).inside
    assert compare([1.0] + [0.0] * 9, [0.0] * 10, ratio=0.9).inside
