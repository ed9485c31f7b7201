"""Costs of norms, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Cost, Definition, var
from fibcore_op_rmsnorm import fibcore_cost


@pytest.mark.parametrize("stem", ["rmsnorm", "gemma_rmsnorm"])
def test_plain(definition: Callable[..., Definition], stem: str) -> None:
    # 7 rows of 4096 and the weight are read, the rows are written: two bytes an element.
    found = fibcore_cost(definition(stem), {"batch_size": 7}, {})
    assert found == Cost(114_688, "float32", 57_344 + 8_192, 57_344)


@pytest.mark.parametrize("stem", ["fused_add_rmsnorm", "gemma_fused_add_rmsnorm"])
def test_with_a_residual(definition: Callable[..., Definition], stem: str) -> None:
    found = fibcore_cost(definition(stem), {"batch_size": 7}, {})
    assert found == Cost(143_360, "float32", 2 * 57_344 + 8_192, 57_344)


def test_norms_of_others_are_not_guessed(definition: Callable[..., Definition]) -> None:
    one = definition("rmsnorm")
    axes = {**one.axes, "hidden_size": var()}
    assert (
        fibcore_cost(attrs.evolve(one, axes=axes), {"batch_size": 1, "hidden_size": 4}, {}) is None
    )
