"""Costs of latent attention, counted by hand: 16 heads, latent vectors of 512 and 64."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import Cost, Definition, Kernel, Scalar
from fibcore_op_mla import fibcore_cost, fibcore_reference

PAIR = 2 * (576 + 512) * 16  # operations of a query and a key, in all heads
KEY = 2 * 576  # bytes of a latent vector, for all heads
QUERY = 2 * 16 * 576
OUTPUT = 2 * 16 * 512 + 4 * 16


def made(kind: str, page_size: int = 64, cache: str | None = None) -> Definition:
    parameters: dict[str, Scalar] = {"kind": kind, "num_qo_heads": 16}
    if cache is not None:
        parameters["cache_dtype"] = cache
    if kind == "ragged":
        parameters |= {"num_kv_heads": 16, "qk_dim": 192, "vo_dim": 128}
    else:
        parameters |= {"head_dim_ckv": 512, "head_dim_kpe": 64, "page_size": page_size}
    op_type = "mla_ragged" if kind == "ragged" else "mla_paged"
    return fibcore_reference(Kernel(op_type, f"{op_type}_x", parameters, {}, ()))


def test_decode_reads_a_latent_vector_once_for_all_heads() -> None:
    axes = {"batch_size": 2, "len_indptr": 3, "num_pages": 9, "num_kv_indices": 3}
    values = {"kv_indptr": [0, 1, 3], "kv_indices": [8, 1, 4], "kv_last_page_len": [10, 3]}
    tables = 4 * (3 + 3 + 2)
    assert fibcore_cost(made("decode"), axes, values) == Cost(
        PAIR * 77, "bfloat16", 2 * QUERY + 77 * KEY + tables, 2 * OUTPUT
    )


def test_a_cache_of_eight_bits_is_half_as_large() -> None:
    axes = {"batch_size": 2, "len_indptr": 3, "num_pages": 9, "num_kv_indices": 3}
    values = {"kv_indptr": [0, 1, 3], "kv_indices": [8, 1, 4], "kv_last_page_len": [10, 3]}
    plain = fibcore_cost(made("decode"), axes, values)
    cost = fibcore_cost(made("decode", cache="float8_e4m3fn"), axes, values)
    assert plain is not None
    assert cost == attrs.evolve(plain, bytes_read=plain.bytes_read - 77 * KEY // 2)


@pytest.mark.parametrize("page_size", [1, 64])
def test_prefill_has_the_pairs_below_the_diagonal(page_size: int) -> None:
    axes = {"total_q": 40, "len_indptr": 2, "num_pages": 999, "batch_size": 1}
    values = {"qo_indptr": [0, 40], "kv_last_page_len": [36]}
    values["kv_indices"] = list(range(100)) if page_size == 1 else [5, 2]
    values["kv_indptr"] = [0, len(values["kv_indices"])]
    axes["num_kv_indices"] = len(values["kv_indices"])
    cost = fibcore_cost(made("prefill", page_size), axes, values)
    tables = 4 * (2 + 2 + axes["num_kv_indices"] + (page_size > 1))
    assert cost == Cost(
        PAIR * (61 + 100) * 20, "bfloat16", 40 * QUERY + 100 * KEY + tables, 40 * OUTPUT
    )


def test_materialised_keys_and_values_are_those_of_each_head() -> None:
    axes = {"total_q": 30, "total_kv": 30, "len_indptr": 3}
    values = {"qo_indptr": [0, 10, 30], "kv_indptr": [0, 10, 30]}
    flops = 2 * (192 + 128) * 16 * (55 + 210)
    read = 2 * 30 * 16 * (192 + 192 + 128) + 4 * (3 + 3)
    written = 30 * 16 * (2 * 128 + 4)
    assert fibcore_cost(made("ragged"), axes, values) == Cost(flops, "bfloat16", read, written)
    # Two sequences of 15 have the fewest pairs.
    cost = fibcore_cost(made("ragged"), axes, {})
    assert cost is not None
    assert cost.certain.flops == 2 * (192 + 128) * 16 * 240
    assert cost.certain.bytes_read == read


def test_attention_of_others_is_not_guessed() -> None:
    other = attrs.evolve(made("ragged"), name="mla_ragged_noncausal_h16")
    assert fibcore_cost(other, {"total_q": 1, "total_kv": 1, "len_indptr": 2}, {}) is None
