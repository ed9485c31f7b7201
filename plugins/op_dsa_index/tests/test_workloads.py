"""Workloads of index queries and keys."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import TOKENS, Definition
from fibcore_op_dsa_index import fibcore_workloads

np = pytest.importorskip("numpy")

Small = dict[str, Definition]


def test_every_key_has_a_place_of_its_own(small: Small) -> None:
    found = fibcore_workloads(small["k_store"], {}, 0)
    assert [case.axes["num_tokens"] for case in found] == list(TOKENS)
    for case in found[:4]:
        made = case.tensors()
        places = made["out_loc"]
        assert (places.dtype, made["positions"].dtype) == (np.int64, np.int64)
        assert len(set(places.tolist())) == case.axes["num_tokens"]
        assert places.max() < 64 * case.axes["num_pages"]
        table = made["cos_sin_cache"]
        assert table.shape == (case.axes["max_position"], 12)
        assert made["positions"].max() < len(table)
        np.testing.assert_allclose(table[:, :6] ** 2 + table[:, 6:] ** 2, 1, rtol=1e-5)


def test_the_factor_is_the_models_or_follows_from_sizes(small: Small) -> None:
    made = small["q"]
    assert fibcore_workloads(made, {"weight_scale": 0.25}, 0)[0].scalars == {"weight_scale": 0.25}
    assert fibcore_workloads(made, {}, 0)[0].scalars == {"weight_scale": (32 * 3) ** -0.5}
    assert set(fibcore_workloads(made, {}, 0)[0].tensors()) == {"cos_sin_cache", "positions"}


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    for made in small.values():
        assert fibcore_workloads(attrs.evolve(made, op_type="other"), {}, 0) == ()
