"""Costs of grouped query attention, counted by hand: 4 query heads, 2 KV heads of 64."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Cost, Definition
from fibcore_op_gqa import fibcore_cost

PAIR = 2 * 2 * 64 * 4  # operations of a query and a key, in all heads
KEY = 2 * 2 * 64 * 2  # bytes of a key and its value, in all heads
QUERY = 4 * 64 * 2  # bytes of a query, and of its output
LSE = 4 * 4

Definitions = Callable[..., dict[str, Definition]]


def of(definitions: Definitions, name: str, **more: object) -> Definition:
    found = definitions(4, 2, 64, (1, 64), **more)
    return next(d for n, d in found.items() if n.startswith(name))


def test_decode_reads_keys_and_values_once(definitions: Definitions) -> None:
    one = of(definitions, "gqa_paged_decode_h4_kv2_d64_ps64")
    axes = {"batch_size": 2, "len_indptr": 3, "num_pages": 9, "num_kv_indices": 3}
    values = {"kv_indptr": [0, 1, 3], "kv_indices": [8, 1, 4], "kv_last_page_len": [10, 3]}
    tables = 4 * (3 + 3 + 2)
    assert fibcore_cost(one, axes, values) == Cost(
        PAIR * (10 + 67), "bfloat16", 2 * QUERY + (10 + 67) * KEY + tables, 2 * (QUERY + LSE)
    )


def test_decode_with_pages_of_one_token_is_known_from_axes(definitions: Definitions) -> None:
    one = of(definitions, "gqa_paged_decode_h4_kv2_d64_ps1")
    axes = {"batch_size": 2, "len_indptr": 3, "num_pages": 99, "num_kv_indices": 77}
    cost = fibcore_cost(one, axes, {})
    assert cost is not None
    assert cost.flops == cost.certain.flops == PAIR * 77
    assert cost.bytes_read == 2 * QUERY + 77 * KEY + 4 * (3 + 77)
    # One sequence may have all but one key, the others share them.
    assert cost.certain.bytes_read == 2 * QUERY + 39 * KEY + 4 * (3 + 39)


@pytest.mark.parametrize("cap", [0.0, 50.0])
def test_a_window_bounds_what_is_read(definitions: Definitions, cap: float) -> None:
    one = of(definitions, "gqa_paged_decode_h4_kv2_d64_ps1", window=16, cap=cap)
    axes = {"batch_size": 2, "len_indptr": 3, "num_pages": 99, "num_kv_indices": 77}
    values = {"kv_indptr": [0, 10, 77], "kv_indices": list(range(77))}
    cost = fibcore_cost(one, axes, values)
    assert cost is not None
    assert cost.flops == PAIR * (10 + 16)
    assert cost.bytes_read == 2 * QUERY + 26 * KEY + 4 * (3 + 26)


def test_causal_prefill_has_about_half_of_the_products(definitions: Definitions) -> None:
    one = of(definitions, "gqa_ragged")
    axes = {"len_indptr": 2, "total_q": 100, "total_kv": 100}
    written, offsets = 100 * (QUERY + LSE), 4 * (2 + 2)
    read = 100 * QUERY + 100 * KEY + offsets
    # 100 * 101 / 2 of the 10,000 pairs; one sequence is known from axes alone.
    assert fibcore_cost(one, axes, {}) == Cost(PAIR * 5_050, "bfloat16", read, written)
    # 40 queries see 61 to 100 keys.
    axes["total_q"] = 40
    cost = fibcore_cost(one, axes, {"qo_indptr": [0, 40], "kv_indptr": [0, 100]})
    assert cost is not None
    assert cost.flops == PAIR * (61 + 100) * 40 // 2


@pytest.mark.parametrize("page_size", [1, 64])
def test_paged_prefill_counts_sequence_by_sequence(
    definitions: Definitions, page_size: int
) -> None:
    one = of(definitions, f"gqa_paged_prefill_causal_h4_kv2_d64_ps{page_size}", window=8)
    axes = {"len_indptr": 3, "total_q": 14, "num_pages": 999, "batch_size": 2}
    values = {"qo_indptr": [0, 4, 14], "kv_last_page_len": [36, 10]}
    if page_size == 1:
        values |= {"kv_indptr": [0, 100, 110], "kv_indices": list(range(110))}
    else:
        values |= {"kv_indptr": [0, 2, 3], "kv_indices": [7, 8, 9]}
    axes["num_kv_indices"] = len(values["kv_indices"])
    cost = fibcore_cost(one, axes, values)
    assert cost is not None
    # 4 queries after 96 keys see 8 each, 11 in all; 10 queries see 1 to 8 keys, and 8 twice.
    assert cost.flops == PAIR * (4 * 8 + 36 + 2 * 8)
    tables = 4 * (3 + 3) + (4 * (11 + 10) if page_size == 1 else 4 * 2 + 4 * 2)
    assert cost.bytes_read == 14 * QUERY + (11 + 10) * KEY + tables


def test_attention_of_others_is_not_guessed(definitions: Definitions) -> None:
    one = of(definitions, "gqa_ragged")
    other = attrs.evolve(one, name="gqa_ragged_noncausal_h4")
    assert fibcore_cost(other, {"len_indptr": 2, "total_q": 1, "total_kv": 1}, {}) is None


def test_a_sink_is_read_once_a_head(definitions: Definitions) -> None:
    plain, sinks = (of(definitions, "gqa_ragged", sink=sink) for sink in (False, True))
    axes = {"len_indptr": 2, "total_q": 9, "total_kv": 9}
    one, other = fibcore_cost(plain, axes, {}), fibcore_cost(sinks, axes, {})
    assert one is not None
    assert other is not None
    assert other == attrs.evolve(one, bytes_read=one.bytes_read + 4 * 4)


def test_without_a_causal_mask_every_query_sees_every_key(definitions: Definitions) -> None:
    one = of(definitions, "gqa_ragged", full=True)
    axes = {"len_indptr": 3, "total_q": 30, "total_kv": 40}
    values = {"qo_indptr": [0, 10, 30], "kv_indptr": [0, 20, 40]}
    cost = fibcore_cost(one, axes, values)
    assert cost is not None
    assert cost.flops == PAIR * (10 * 20 + 20 * 20)
    alike = fibcore_cost(one, axes, {})
    assert alike is not None
    assert alike.flops == PAIR * 2 * 15 * 20
    assert alike.certain.flops == PAIR * 2 * 15 * 15


def test_an_eight_bit_cache_is_half_as_much_to_read(definitions: Definitions) -> None:
    axes = {"batch_size": 2, "len_indptr": 3, "num_pages": 99, "num_kv_indices": 77}
    values = {"kv_indptr": [0, 10, 77], "kv_indices": list(range(77))}
    plain = of(definitions, "gqa_paged_decode_h4_kv2_d64_ps1")
    eight = of(definitions, "gqa_paged_decode_h4_kv2_d64_ps1", fp8=True)
    one, other = fibcore_cost(plain, axes, values), fibcore_cost(eight, axes, values)
    assert one is not None
    assert other == attrs.evolve(one, bytes_read=one.bytes_read - 77 * KEY // 2)


def test_values_of_another_width(definitions: Definitions) -> None:
    one = of(definitions, "gqa_ragged", value_dim=16)
    cost = fibcore_cost(one, {"len_indptr": 2, "total_q": 9, "total_kv": 9}, {})
    assert cost is not None
    assert cost.flops == 2 * (64 + 16) * 4 * 45
    assert cost.bytes_read == 9 * QUERY + 9 * 2 * (64 + 16) * 2 + 4 * (2 + 2)
    assert cost.bytes_written == 9 * (4 * 16 * 2 + LSE)


def test_a_mask_shows_what_it_may(definitions: Definitions) -> None:
    one = of(definitions, "gqa_paged_prefill_custom_mask_h4_kv2_d64_ps1", mask=True)
    axes = {"len_indptr": 3, "total_q": 8, "num_pages": 99, "num_kv_indices": 77, "mask_len": 308}
    values = {"qo_indptr": [0, 4, 8], "kv_indptr": [0, 10, 77], "kv_indices": list(range(77))}
    cost = fibcore_cost(one, axes, values)
    assert cost is not None
    assert cost.flops == PAIR * 4 * 77
    assert cost.bytes_read == 8 * QUERY + 77 * KEY + 4 * (3 + 3 + 77) + 308
    assert "a mask shows every key" in cost.assumes
    assert cost.certain.flops == 0
    assert cost.certain.bytes_read == 8 * QUERY + 4 * (3 + 3) + 308


def test_chunks_bound_what_is_read(definitions: Definitions) -> None:
    axes = {"batch_size": 3, "len_indptr": 4, "num_pages": 99, "num_kv_indices": 77}
    values = {"kv_indptr": [0, 10, 26, 77], "kv_indices": list(range(77))}
    one = of(definitions, "gqa_paged_decode_h4_kv2_d64_ps1", chunk=16)
    cost = fibcore_cost(one, axes, values)
    assert cost is not None
    assert cost.flops == PAIR * (10 + 16 + 3)  # of 51 keys, those from 48 on
    assert cost.bytes_read == 3 * QUERY + 29 * KEY + 4 * (4 + 29)
    least = fibcore_cost(one, axes, {})
    assert least is not None
    assert least.certain.flops == PAIR * 3
    one = of(definitions, "gqa_ragged", chunk=16)
    axes = {"len_indptr": 2, "total_q": 20, "total_kv": 40}
    cost = fibcore_cost(one, axes, {"qo_indptr": [0, 20], "kv_indptr": [0, 40]})
    assert cost is not None
    # Queries 20 to 39: 5 to 16 keys, then 1 to 8.
    assert cost.flops == PAIR * (sum(range(5, 17)) + sum(range(1, 9)))
    assert cost.bytes_read == 20 * QUERY + 24 * KEY + 4 * (2 + 2)
