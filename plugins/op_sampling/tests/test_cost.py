"""Costs of sampling, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Cost, Definition, var
from fibcore_op_sampling import fibcore_cost

Make = Callable[..., Definition]


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        # 7 rows of 1000 probabilities of 4 bytes; parameters of 4 bytes, tokens of 8 or 4.
        ("top_k_sampling_from_probs", Cost(14_000, "float32", 28_028, 56)),
        ("top_k_top_p_sampling_from_probs", Cost(21_000, "float32", 28_056, 56)),
        ("min_p_sampling", Cost(14_000, "float32", 28_028, 28)),
        ("sampling_from_probs", Cost(7_000, "float32", 28_000, 28)),
        ("top_p_renorm_probs", Cost(21_000, "float32", 28_028, 28_000)),
        ("softmax", Cost(42_000, "float32", 28_028, 28_000)),
    ],
)
def test_by_hand(definition: Make, stem: str, expected: Cost) -> None:
    assert fibcore_cost(definition(stem, 1000), {"batch_size": 7}, {}) == expected


def test_functions_of_others_are_not_guessed(definition: Make) -> None:
    one = definition("softmax")
    other = attrs.evolve(one, axes={**one.axes, "vocab_size": var()})
    assert fibcore_cost(other, {"batch_size": 1, "vocab_size": 4}, {}) is None
