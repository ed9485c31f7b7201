"""Workloads: what sequences there are, and that the inputs are what a server has."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import TOKENS, Definition
from fibcore_op_dsv4 import fibcore_workloads

np = pytest.importorskip("numpy")

Small = dict[str, Definition]


@pytest.mark.parametrize("kind", ["window", "compressed"])
def test_queries_see_keys_of_their_own(small: Small, kind: str) -> None:
    found = fibcore_workloads(small[kind], {"bmm1_scale": 0.5}, 0)
    assert len(found) >= 6
    for case in found[:5]:
        made = case.tensors()
        assert case.scalars == {"bmm1_scale": 0.5}
        indices = made["sparse_indices"]
        assert indices.shape == (case.axes["num_tokens"], 6)
        assert ((indices >= 0).sum(1) == made["swa_topk_lens"]).all()
        assert indices.max() < case.axes["swa_num_pages"] * 256
        cache = made["swa_kv_cache"]
        assert cache.dtype == np.int8
        assert cache.shape == (case.axes["swa_num_pages"], 256, 1, 168)
        plain = cache.reshape(len(cache), -1)[:, : 256 * 160].view(np.uint8).reshape(-1, 160)
        assert (plain[:, :128] & 0x7F).max() <= 0x48  # 4.0
        scales = cache.reshape(len(cache), -1)[:, 256 * 160 :].view(np.uint8)
        assert set(np.unique(scales)) == {125, 126, 127}
        if kind == "compressed":
            extra, lengths = made["extra_sparse_indices"], made["extra_sparse_topk_lens"]
            for row, length in zip(extra, lengths, strict=True):
                assert len(set(row[:length].tolist())) == length
                assert (row[length:] == -1).all()
            assert extra.max() < case.axes["compressed_num_pages"] * 64


def test_windows_are_in_the_buffer_but_for_new_tokens(small: Small) -> None:
    found = fibcore_workloads(small["plain"], {}, 0)
    assert [case.axes["num_tokens"] for case in found] == list(TOKENS)
    made = found[2].tensors()
    listed = made["window_indices"]
    assert (listed[:, :-1] < found[2].axes["num_states"]).all()
    assert (listed[:, -1] >= found[2].axes["num_states"]).all()
    assert len(set(made["write_indices"].tolist())) == found[2].axes["num_tokens"]


@pytest.mark.parametrize("kind", ["k_store", "index_k_store"])
def test_every_row_has_a_place_of_its_own(small: Small, kind: str) -> None:
    for case in fibcore_workloads(small[kind], {}, 0):
        places = case.tensors()["out_loc"]
        assert len(set(places.tolist())) == case.axes["num_tokens"]
        pages = small[kind].const_axes["page_size"] * case.axes["num_pages"]
        assert places.max() < pages


def test_factors_are_the_models_or_follow_from_sizes(small: Small) -> None:
    made = small["index_q"]
    assert fibcore_workloads(made, {"weight_scale": 0.25}, 0)[0].scalars == {"weight_scale": 0.25}
    assert fibcore_workloads(made, {}, 0)[0].scalars == {"weight_scale": (32 * 3) ** -0.5}


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    for made in small.values():
        assert fibcore_workloads(attrs.evolve(made, op_type="other"), {}, 0) == ()


def test_caches_stay_small(small: Small) -> None:
    for case in fibcore_workloads(small["compressed"], {}, 0):
        pages = case.axes["swa_num_pages"] * 256 + case.axes["compressed_num_pages"] * 64
        assert pages * 168 <= 1 << 24
