"""How two tensors differ, in figures."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.differences import differences, figures_of  # noqa: E402 - needs torch

NAN, INF = float("nan"), float("inf")


def test_figures() -> None:
    actual, expected = torch.zeros(2, 4), torch.zeros(2, 4)
    expected[0] = 1.0
    actual[0] = 1.0
    actual[1, 2], actual[0, 3] = 7.0, 1.5
    figures = figures_of(differences(actual, expected, 1e-5, 1e-5))
    assert figures["elements"] == 8
    assert figures["outside"] == 2
    assert figures["max_abs_error"] == 7.0
    assert figures["mean_abs_error"] == pytest.approx(7.5 / 8, rel=1e-2)
    assert figures["max_rel_error"] == 0.5
    assert figures["mean_rel_error"] == pytest.approx(0.5 / 4)
    assert figures["cosine_similarity"] == pytest.approx(0.3, abs=0.1)
    json.dumps(figures, allow_nan=False)


def test_what_is_not_finite_is_left_out_of_errors() -> None:
    actual, expected = torch.tensor([NAN, INF, 3.0]), torch.tensor([1.0, INF, 2.0])
    found = differences(actual, expected, 0.0, 0.5)
    assert found.outside.tolist() == [True, False, True]
    assert found.strange == 1
    assert not found.all_nan
    figures = figures_of(found)
    assert (figures["max_abs_error"], figures["mean_abs_error"]) == (1.0, 1.0)
    assert figures["max_rel_error"] == 0.5


def test_figures_of_nothing_are_none() -> None:
    nan = differences(torch.tensor([NAN]), torch.tensor([NAN]), 0.0, 0.0)
    assert nan.all_nan
    assert nan.strange == 0
    empty = differences(torch.tensor([]), torch.tensor([]), 0.0, 0.0)
    assert not empty.all_nan
    for found in (nan, empty):
        figures = figures_of(found)
        names = ("max_abs_error", "mean_abs_error", "max_rel_error", "cosine_similarity")
        assert [figures[name] for name in names] == [None] * 4


def test_differences_are_taken_in_float64() -> None:
    actual = torch.tensor([256.0, 1.0], dtype=torch.bfloat16)
    expected = torch.tensor([256.5, 1.0])
    assert figures_of(differences(actual, expected, 0.0, 0.0))["max_abs_error"] == 0.5
