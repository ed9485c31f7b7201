"""Random numbers, lengths and page tables of workloads."""

from __future__ import annotations

import statistics

import numpy as np

from fibcore.ops.authoring.draws import generator
from fibcore.ops.authoring.sequences import (
    LONGEST,
    decode_batches,
    indptr,
    last_page_lengths,
    page_counts,
    page_numbers,
    pool_size,
    prefill_batches,
)


def test_numbers_are_the_same_everywhere() -> None:
    """Fixed here: a change would change the workloads of every dataset."""
    draws = generator(0, "name", 3)
    assert draws.uniform(-1.0, 1.0, 3).tolist() == UNIFORM
    assert draws.permutations(2, 5).tolist() == ORDERS
    assert draws.lengths(6, 1000, 4000) == LENGTHS


UNIFORM = [0.2319166660308838, 0.7497107982635498, 0.8880969285964966]
ORDERS = [[4, 3, 1, 2, 0], [2, 1, 4, 3, 0]]
LENGTHS = [1808, 3836, 908, 2131, 1112, 427]


def test_a_stream_depends_on_seed_and_words() -> None:
    streams = [generator(*words) for words in ((0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (0,))]
    assert len({s.uniform(0, 1, 1)[0] for s in streams}) == 5
    assert generator(7, "a", 1).uniform(0, 1, 4).tolist() == (
        generator(7, "a", 1).uniform(0, 1, 4).tolist()
    )


def test_uniform_numbers_fill_their_range() -> None:
    found = generator(0, "u").uniform(2.0, 6.0, 3, 100_000)
    assert found.shape == (3, 100_000)
    assert found.dtype == np.float32
    assert found.min() >= 2.0
    assert found.max() < 6.0
    assert abs(found.mean() - 4.0) < 0.02
    assert abs(found.std() - 4 / 12**0.5) < 0.02
    # Longer than what is drawn at a time: no part repeats another.
    long = generator(0, "u").uniform(0.0, 1.0, 2**21)
    assert not np.array_equal(long[: 2**20], long[2**20 :])
    assert generator(0, "u").uniform(0.0, 1.0, 0).shape == (0,)


def test_permutations_are_ones() -> None:
    rows = generator(0, "p").permutations(50, 16)
    assert (np.sort(rows, axis=1) == np.arange(16)).all()
    assert len({tuple(row) for row in rows.tolist()}) == 50


def test_lengths_are_spread_around_their_median() -> None:
    found = generator(0, "l").lengths(4000, 1000, 8000)
    assert min(found) >= 1
    assert max(found) <= 8000
    assert 900 < statistics.median(found) < 1100
    assert statistics.quantiles(found, n=10)[-1] > 2000
    assert generator(0, "l").lengths(3, 1, 1) == [1, 1, 1]


def test_decode_batches_reach_from_one_to_256_sequences() -> None:
    batches = decode_batches(0, "name")
    assert {b.size for b in batches} == {1, 2, 4, 8, 16, 32, 64, 128, 256}
    assert max(max(b.keys) for b in batches) == LONGEST == 32768
    assert all(set(b.queries) == {1} and min(b.keys) >= 1 for b in batches)
    assert len({b.label for b in batches}) == len(batches)
    ragged = [b for b in batches if b.size >= 8]
    assert all(len(set(b.keys)) > b.size // 2 for b in ragged)
    assert decode_batches(0, "name") == batches
    assert decode_batches(1, "name") != batches
    assert decode_batches(0, "other") != batches


def test_random_requests_are_in_the_middle_of_their_answers() -> None:
    """InferenceX's: lengths of at least 0.8 of the most, some of the answer written."""
    found = {b.label: b.keys for b in decode_batches(0, "name") if "requests" in b.label}
    assert list(found) == [
        "64 requests of up to 1024 in, 1024 out",
        "32 requests of up to 1024 in, 8192 out",
        "16 requests of up to 8192 in, 1024 out",
    ]
    bounds = ((819, 2048), (819, 9216), (6553, 9216))
    for keys, (least, most) in zip(found.values(), bounds, strict=True):
        assert least <= min(keys) < max(keys) <= most
        assert least < statistics.mean(keys) < most
    prompts = [b for b in prefill_batches(0, "name", prefixes=False) if "random" in b.label]
    assert [(b.size, max(b.queries) <= n) for b, n in zip(prompts, (1024, 8192), strict=True)] == [
        (8, True),
        (2, True),
    ]
    assert all(min(b.queries) >= 0.79 * max(b.queries) for b in prompts)


def test_prefill_batches_have_prompts_chunks_and_mixes() -> None:
    batches = prefill_batches(0, "name", prefixes=True)
    assert 32768 - 64 < max(max(b.keys) for b in batches) < 32768
    assert max(max(b.queries) for b in batches) == 8192
    # Causal attention aligns the last query with the last key: none is without a key.
    assert all(k >= q >= 1 for b in batches for q, k in zip(b.queries, b.keys, strict=True))
    mixed = [b for b in batches if b.queries.count(1) > 20]
    assert mixed
    assert all(max(b.queries) >= 1024 for b in mixed)
    whole = prefill_batches(0, "name", prefixes=False)
    assert all(b.queries == b.keys for b in whole)
    assert whole == batches[: len(whole)]


def test_page_tables() -> None:
    keys = [1, 4, 5, 0, 8]
    assert page_counts(keys, 4) == [1, 1, 2, 0, 2]
    assert last_page_lengths(keys, 4).tolist() == [1, 4, 1, 0, 4]
    assert indptr([1, 1, 2, 0, 2]).tolist() == [0, 1, 2, 4, 4, 6]
    assert indptr([]).tolist() == [0]
    assert indptr([3]).dtype == last_page_lengths(keys, 4).dtype == np.int32
    numbers = page_numbers(0, 1000, "name")
    assert len(set(numbers.tolist())) == 1000
    assert numbers.min() >= 1
    assert numbers.max() < pool_size(1000)
    assert (np.diff(numbers) < 0).any()
    assert page_numbers(0, 0, "name").tolist() == []
    assert page_numbers(0, 1, "name").tolist() == [1]
