"""Costs, counted by hand."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import Definition, Fact, Kernel, Scalar, SourcePlace, StepBatch, var
from fibcore_op_dsv4 import fibcore_cost, fibcore_step_sizes

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


@pytest.mark.parametrize(
    ("parameters", "topk", "expected"),
    [
        ({"kind": "overlap", "window": 8}, None, {"num_windows": 3, "num_states": 24}),
        ({"kind": "plain", "window": 128}, None, {"num_windows": 0, "num_states": 384}),
        ({"kind": "compressed", "compressed_page_size": 2}, None, {"extra_topk": 31}),
        ({"kind": "compressed", "compressed_page_size": 64}, 512, {"extra_topk": 512}),
        ({"kind": "index_k_store", "page_size": 64}, None, {"num_tokens": 3}),
        ({"kind": "k_store", "page_size": 256}, None, {}),
        ({"kind": "inverse_rope"}, None, {}),
    ],
)
def test_sizes_of_a_step_follow_from_the_lengths_of_sequences(
    parameters: dict[str, Scalar], topk: int | None, expected: dict[str, int]
) -> None:
    facts = {} if topk is None else {"extra_topk": Fact(topk, (), SourcePlace("f.py", 1))}
    kernel = Kernel("op", "name", parameters, facts, ())
    batch = StepBatch("decode", sequences=3, tokens=3, keys=4000)
    assert fibcore_step_sizes(kernel, batch) == expected


def test_prompts_end_windows_all_along() -> None:
    kernel = Kernel("op", "name", {"kind": "plain", "window": 128}, {}, ())
    batch = StepBatch("prefill", sequences=2, tokens=512, keys=300)  # 44 keys before each
    assert fibcore_step_sizes(kernel, batch)["num_windows"] == 2 * 2
