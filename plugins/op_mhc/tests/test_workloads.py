"""Workloads of hyper-connections."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import TOKENS, Definition
from fibcore_op_mhc import fibcore_workloads

np = pytest.importorskip("numpy")

Small = dict[str, Definition]


def test_weights_are_those_of_a_model(small: Small) -> None:
    found = fibcore_workloads(small["mhc_fused_post_pre"], {}, 0)
    assert [case.axes["num_tokens"] for case in found] == list(TOKENS)
    made = found[3].tensors()
    assert set(made) == {
        *("fn", "hc_scale", "hc_base"),
        *("post_layer_mix", "comb_res_mix"),
    }
    assert all(array.dtype == np.float32 for array in made.values())
    # What is projected is of the size of what it is projected from.
    assert made["fn"].shape == (24, 128)
    assert 0.8 < (made["fn"] ** 2).sum(1).mean() < 1.2
    np.testing.assert_allclose(made["comb_res_mix"].sum(1), 1, rtol=1e-5)
    assert made["post_layer_mix"].max() <= 2


def test_kinds_have_what_they_read(small: Small) -> None:
    assert set(fibcore_workloads(small["mhc_post"], {}, 0)[0].tensors()) == {
        "post_layer_mix",
        "comb_res_mix",
    }
    assert set(fibcore_workloads(small["mhc_pre"], {}, 0)[0].tensors()) == {
        *("fn", "hc_scale", "hc_base")
    }


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    made = small["mhc_post"]
    assert fibcore_workloads(attrs.evolve(made, op_type="other"), {}, 0) == ()
