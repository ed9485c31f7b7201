"""The text of a comparison that failed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.comparing import compare_tensors  # noqa: E402 - needs torch


def text(actual: list[float], expected: list[float], ratio: float = 1.0) -> str:
    return compare_tensors(torch.tensor(actual), torch.tensor(expected), 0.0, 0.1, ratio).text


def test_lines() -> None:
    assert text([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 2.0], ratio=0.75).splitlines() == [
        "  outside tolerance: 1 of 4 elements (25.000%)",
        "  tolerance: rtol 0, atol 0.1, at least 75% of the elements inside",
        "  absolute error: max 1.0, mean 0.25",
        "  relative error: max 0.5, mean 0.167",
        "  cosine similarity: 0.979958",
        "  worst elements:",
        "    [3]: got 3, expected 2",
    ]


def test_worst_come_first_and_by_index() -> None:
    actual, expected = torch.zeros(2, 4), torch.zeros(2, 4)
    expected[0] = actual[0] = 1.0
    actual[1, 2], actual[0, 3] = 7.0, 1.5
    found = compare_tensors(actual, expected, 1e-5, 1e-5, 1.0).text
    worst = found.partition("worst elements:")[2].split("\n")[1:]
    assert worst[0].strip() == "[1, 2]: got 7, expected 0"
    assert worst[1].strip() == "[0, 3]: got 1.5, expected 1"
    assert "2 of 8 elements (25.000%)" in found


def test_no_more_than_five_are_shown() -> None:
    found = text([1.0] * 9, [0.0] * 9)
    assert found.count(": got ") == 5


def test_nan_on_one_side_is_the_worst() -> None:
    found = text([5.0, float("nan")], [0.0, 1.0])
    assert "NaN or infinite on one side only, or of other sign: 1 elements" in found
    assert found.partition("worst elements:")[2].split("\n")[1].strip().startswith("[1]: got nan")


def test_nothing_was_compared() -> None:
    found = text([float("nan")], [float("nan")])
    assert found.endswith("every element is NaN on both sides: nothing was compared")
    assert "absolute error: max None, mean None" in found


def test_scalars_have_an_index_without_numbers() -> None:
    found = compare_tensors(torch.tensor(1.0), torch.tensor(0.0), 0.0, 0.1, 1.0).text
    assert found.endswith("[]: got 1, expected 0")
