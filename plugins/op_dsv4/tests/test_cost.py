"""Costs, counted by hand."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import Definition, var
from fibcore_op_dsv4 import fibcore_cost

Small = dict[str, Definition]


def test_attention_reads_keys_that_are_seen(small: Small) -> None:
    axes = {
        "num_tokens": 2,
        "swa_num_pages": 3,
        "compressed_num_pages": 9,
        "extra_topk": 4,
    }
    values = {
        "sparse_indices": [1, 2, 3, -1, -1, -1, 3, 4, 5, 6, 7, 8],
        "swa_topk_lens": [3, 2],
        "extra_sparse_indices": [1, 2, -1, 3, 1, -1, -1, -1],
        "extra_sparse_topk_lens": [3, 4],
    }
    found = fibcore_cost(small["compressed"], axes, values)
    assert found is not None
    pairs, keys = (3 + 2) + (2 + 1), 4 + 2
    assert found.flops == 4 * 144 * 3 * pairs
    lists = 4 * (2 * 6 + 2 + 2 * 4 + 2)
    assert found.bytes_read == 168 * keys + lists + 2 * (2 * 3 * 144) + 4 * 3 + 0
    assert found.bytes_written == 2 * (2 * 3 * 144)
    open_found = fibcore_cost(small["compressed"], axes, {})
    assert open_found is not None
    assert open_found.assumes
    assert open_found.flops == 4 * 144 * 3 * 2 * (6 + 4)
    assert open_found.least is not None


def test_stores_write_what_is_stored(small: Small) -> None:
    axes = {"num_tokens": 7, "num_pages": 5, "max_position": 3}
    found = fibcore_cost(small["k_store"], axes, {})
    assert found is not None
    assert found.bytes_written == 7 * 168
    assert found.bytes_read == 7 * 144 * 2 + 144 * 2 + 3 * 16 * 4 + 7 * 4 + 7 * 4
    index = fibcore_cost(small["index_k_store"], {**axes, "num_pages": 0}, {})
    assert index is not None
    assert index.bytes_written == 0


def test_windows_read_half_a_token(small: Small) -> None:
    axes = {"num_tokens": 2, "num_windows": 1, "num_states": 100}
    values = {"window_indices": [-1, -1, -1, -1, 5, 6, 7, 101]}
    found = fibcore_cost(small["overlap"], axes, values)
    assert found is not None
    head = small["overlap"].const_axes["head_dim"]
    given = 4 * (2 * 4 * head + 8 * head + 8 + 2)
    assert found.bytes_read == given + 3 * 2 * 4 * head
    assert found.bytes_written == 4 * head + 2 * 4 * 4 * head
    assert found.flops == 6 * 8 * head


def test_queries_count_their_transforms(small: Small) -> None:
    axes = {"num_tokens": 5, "max_position": 100}
    found = fibcore_cost(small["index_q"], axes, {})
    assert found is not None
    assert found.flops == 5 * 3 * (3 * 8 + 32 * 5 + 3 * 32)
    turned = fibcore_cost(small["inverse_rope"], axes, {})
    assert turned is not None
    assert turned.flops == 5 * 3 * 3 * 16


@pytest.mark.parametrize("kind", ["window", "k_store", "plain", "index_q"])
def test_definitions_of_others_are_not_guessed(small: Small, kind: str) -> None:
    made = small[kind]
    other = attrs.evolve(made, axes={**made.axes, "more": var()})
    assert fibcore_cost(other, dict.fromkeys(other.axes, 1), {}) is None
