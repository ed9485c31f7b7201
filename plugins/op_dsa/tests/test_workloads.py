"""Workloads: what sequences there are, and that the inputs are what a server has."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_dsa import fibcore_workloads

np = pytest.importorskip("numpy")

Make = Callable[..., dict[str, Definition]]
ATTENTION = "dsa_sparse_attention_h16_ckv512_kpe64_topk2048_ps64"
INDEXER = "dsa_topk_indexer_fp8_h64_d128_topk2048_ps64"


def test_attention_has_keys_of_each_sequence(definitions: Make) -> None:
    found = fibcore_workloads(definitions()[ATTENTION], {"sm_scale": 0.13}, 0)
    assert len(found) == 21
    for case in found[:8]:
        indices = case.tensors()["sparse_indices"]
        assert indices.shape == (case.axes["num_tokens"], 2048)
        assert case.scalars == {"sm_scale": 0.13}
        for row in indices:
            chosen = row[row >= 0]
            assert len(chosen) > 0
            assert len(set(chosen.tolist())) == len(chosen)
            assert chosen.max() < case.axes["num_pages"] * 64
            assert (row[len(chosen) :] == -1).all()
    short = next(case for case in found if case.label == "1 x 101 keys")
    assert (short.tensors()["sparse_indices"] >= 0).sum() == 101


def test_bytes_of_a_cache_are_numbers(definitions: Make) -> None:
    made = next(iter(definitions(None, (64,), "fp8_e4m3").values()))
    found = fibcore_workloads(made, {}, 0)
    assert 8 <= len(found) < 21
    for case in found[:3]:
        values = case.tensors()
        cache = values["kv_cache"]
        assert (cache.shape, cache.dtype) == ((case.axes["num_pages"], 64, 656), np.int8)
        assert (cache[..., :512].view(np.uint8) & 0x7F).max() == 0x48
        scales = np.ascontiguousarray(cache[..., 512:528]).view(np.float32)
        assert 0.125 <= scales.min() < scales.max() <= 0.5
        rope = np.ascontiguousarray(cache[..., 528:]).view(np.uint16).astype(np.uint32) << 16
        assert 1.9 < np.abs(rope.view(np.float32)).max() <= 2.0
        indices = values["sparse_indices"]
        assert ((indices >= 0).sum(1) > 0).all()
        assert indices.max() < case.axes["num_pages"] * 64


def test_a_scale_is_taken_from_the_heads_where_no_model_says_it(definitions: Make) -> None:
    found = fibcore_workloads(definitions()[ATTENTION], {}, 0)
    assert found[0].scalars == {"sm_scale": 192**-0.5}


def test_index_keys_are_numbers(definitions: Make) -> None:
    found = fibcore_workloads(definitions()[INDEXER], {}, 0)
    assert 8 <= len(found) < 18
    for case in found[:4]:
        made = case.tensors()
        cache = made["k_index_cache_fp8"]
        assert cache.dtype == np.int8
        assert cache.shape == (case.axes["num_pages"], 64, 1, 132)
        pages = cache.reshape(len(cache), -1)
        keys = pages[:, : 64 * 128].view(np.uint8)
        assert (keys & 0x7F).max() == 0x48  # 4.0
        assert len(np.unique(keys)) == 2 * 0x49
        scales = np.ascontiguousarray(pages[:, 64 * 128 :]).view(np.float32)
        assert 0.5 <= scales.min() < 0.6
        assert 1.9 < scales.max() <= 2.0
        lengths, table = made["seq_lens"], made["block_table"]
        assert table.shape == (case.axes["batch_size"], case.axes["max_num_pages"])
        assert case.axes["max_num_pages"] * 64 >= 2048
        used = [table[i, : -(-n // 64)].tolist() for i, n in enumerate(lengths)]
        flat = [page for row in used for page in row]
        assert len(set(flat)) == len(flat)
        assert 0 not in flat
        assert lengths.sum() <= 1 << 16


def test_definitions_of_others_are_not_guessed(definitions: Make) -> None:
    for made in definitions().values():
        others = {"other": next(iter(made.outputs.values()))}
        assert fibcore_workloads(attrs.evolve(made, outputs=others), {}, 0) == ()
