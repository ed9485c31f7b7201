"""Costs, counted by hand."""

from __future__ import annotations

import attrs

from fibcore.plugin import Cost, Definition
from fibcore_op_dsa import fibcore_cost

Small = dict[str, Definition]


def test_attention_reads_the_keys_that_are_seen_once(small: Small) -> None:
    # 3 heads of 24 and 8, 100 keys at most; two queries see 3 and 2 keys, one of them the same.
    axes = {"num_tokens": 2, "num_pages": 5}
    indices = [7, -1, 3, 4, *[-1] * 96, 4, 9, *[-1] * 98]
    found = fibcore_cost(small["attention"], axes, {"sparse_indices": indices})
    read = 2 * 2 * 3 * (24 + 8) + 4 * 2 * 100 + 4 * 2 * (24 + 8)
    written = 2 * 2 * 3 * 24 + 4 * 2 * 3
    assert found == Cost(2 * (24 + 8 + 24) * 3 * 5, "bfloat16", read, written)


def test_bytes_of_a_cache_with_scales_are_read_once(small: Small) -> None:
    axes = {"num_tokens": 3, "num_pages": 5}
    indices = [0, 1, 2, *[-1] * 97, 2, 3, *[-1] * 98, *[-1] * 100]
    found = fibcore_cost(small["scaled"], axes, {"sparse_indices": indices})
    plain = 3 * 3 * (256 + 8) * 2 + 3 * 100 * 4  # queries and indices
    assert found is not None
    assert found.flops == 2 * (2 * 256 + 8) * 3 * 5
    assert found.bytes_read == plain + 4 * (256 + 2 * 4 + 2 * 8)


def test_attention_without_indices_takes_all_that_may_be(small: Small) -> None:
    found = fibcore_cost(small["attention"], {"num_tokens": 2, "num_pages": 5}, {})
    assert found is not None
    # A pool of 20 keys, which is less than 100.
    assert found.flops == 2 * (24 + 8 + 24) * 3 * 2 * 20
    assert found.assumes
    assert found.certain.flops == 0


def test_the_indexer_reads_each_page_once(small: Small) -> None:
    # 3 heads of 16; three sequences, of which two share page 2, to its third and its first key.
    axes = {"batch_size": 3, "max_num_pages": 2, "num_pages": 9}
    values = {"seq_lens": [67, 65, 0], "block_table": [1, 2, 4, 2, 0, 0]}
    found = fibcore_cost(small["indexer"], axes, values)
    read = 3 * 3 * 16 + 4 * 3 * 3 + 4 * 3 + (64 + 3 + 64) * 20 + 4 * 4
    assert found == Cost(2 * 3 * 17 * (67 + 65), "float8_e4m3fn", read, 4 * 3 * 100)
    alone = fibcore_cost(small["indexer"], axes, {"seq_lens": [67, 65, 0]})
    assert alone is not None
    assert alone.flops == found.flops
    assert alone.bytes_read == read + 20
    assert alone.certain.bytes_read == read - (131 - 67) * 20


def test_the_indexer_without_lengths_takes_full_tables(small: Small) -> None:
    axes = {"batch_size": 3, "max_num_pages": 2, "num_pages": 9}
    found = fibcore_cost(small["indexer"], axes, {})
    assert found is not None
    assert found.flops == 2 * 3 * 17 * 3 * 128
    assert found.certain.flops == 0


def test_definitions_of_others_are_not_guessed(small: Small) -> None:
    for made in small.values():
        others = {"other": next(iter(made.outputs.values()))}
        assert fibcore_cost(attrs.evolve(made, outputs=others), {}, {}) is None
