"""What attention sees is counted as pair by pair; from axes alone there is a bound from below."""

from __future__ import annotations

import itertools
import random

import pytest

from fibcore.model.cost import Cost
from fibcore.model.definition import Definition, const, scalar, tensor, var
from fibcore.ops.authoring.costs import (
    attended,
    attention_cost,
    keys_seen,
    moved,
    pairs_seen,
    whole,
)


def by_hand(queries: int, keys: int, window: int | None) -> tuple[int, int]:
    seen = [
        (i, j)
        for i in range(queries)
        for j in range(keys)
        if j <= i + keys - queries and (window is None or j > i + keys - queries - window)
    ]
    return len(seen), len({j for _, j in seen})


@pytest.mark.parametrize("window", [None, 1, 3, 7, 50])
def test_pairs_and_keys_are_those_of_the_mask(window: int | None) -> None:
    for queries, keys in itertools.product(range(9), range(12)):
        counted = (pairs_seen(queries, keys, window), keys_seen(queries, keys, window))
        assert counted == by_hand(queries, keys, window), (queries, keys)


def attention(*, decode: bool, page_size: int | None) -> Definition:
    axes = {"heads": const(2), "len_indptr": var(), "num_kv_indices": var(), "num_pages": var()}
    if page_size is None:
        axes = {"heads": const(2), "len_indptr": var(), "total_kv": var()}
    axes["batch_size" if decode else "total_q"] = var()
    inputs = {"q": tensor("batch_size heads" if decode else "total_q heads", "bfloat16")}
    if not decode:
        inputs["qo_indptr"] = tensor("len_indptr", "int32")
    inputs["kv_indptr"] = tensor("len_indptr", "int32")
    if page_size is not None:
        inputs["kv_indices"] = tensor("num_kv_indices", "int32")
        axes.setdefault("batch_size", var())
        inputs["kv_last_page_len"] = tensor("batch_size", "int32")
    names = ", ".join(inputs)
    return Definition(
        name="attention_h2",
        op_type="attention",
        axes=axes,
        inputs=inputs,
        outputs={"o": inputs["q"]},
        reference=f"def run({names}):\n    return q\n",
    )


def batch(
    queries: list[int], keys: list[int], page_size: int | None
) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Axes and integer inputs of sequences that share no page."""
    pages = [-(-m // (page_size or 1)) for m in keys]
    axes = {
        "batch_size": len(keys),
        "len_indptr": len(keys) + 1,
        "total_q": sum(queries),
        "total_kv": sum(keys),
        "num_kv_indices": sum(pages),
        "num_pages": sum(pages) + 3,
    }
    values = {
        "qo_indptr": [0, *itertools.accumulate(queries)],
        "kv_indptr": [0, *itertools.accumulate(pages)],
        "kv_indices": [3 + n for n in range(sum(pages))],
        "kv_last_page_len": [(m - 1) % page_size + 1 if m else 0 for m in keys]
        if page_size
        else [],
    }
    return axes, values


@pytest.mark.parametrize("page_size", [None, 1, 4])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("decode", [False, True])
def test_bounds_hold_for_any_batch(decode: bool, window: int | None, page_size: int | None) -> None:
    draws = random.Random(f"{decode}{window}{page_size}")  # noqa: S311 - sizes
    definition = attention(decode=decode, page_size=page_size)
    for _ in range(60):
        count = draws.randint(1, 6)
        queries = [1] * count if decode else [draws.randint(1, 20) for _ in range(count)]
        keys = [n + draws.choice((0, draws.randint(0, 30))) for n in queries]
        axes, values = batch(queries, keys, page_size)
        given = {"tokens_per_page": page_size, "window": window}
        exact = attended(definition, axes, values, **given)
        hands = [by_hand(n, m, window) for n, m in zip(queries, keys, strict=True)]
        pairs, seen = zip(*hands, strict=True)
        assert (exact.pairs, exact.keys, exact.assumes) == (sum(pairs), sum(seen), "")
        alike = attended(definition, axes, {}, **given)
        least = alike.least or alike
        assert least.pairs <= exact.pairs
        assert least.keys <= exact.keys
        assert least.listed <= exact.listed
        if count == 1 and page_size in (None, 1):
            assert alike == exact
        table = values.pop("kv_indices")
        unshared = attended(definition, axes, values, **given)
        assert (unshared.pairs, unshared.keys) == (exact.pairs, exact.keys)
        assert (unshared.assumes == "") == (page_size is None)
        assert len(table) == axes["num_kv_indices"]


def test_a_shared_prefix_is_read_once() -> None:
    definition = attention(decode=True, page_size=4)
    axes, values = batch([1, 1], [9, 6], 4)
    values["kv_indices"] = [5, 6, 7, 5, 8]  # the first page is the same
    assert attended(definition, axes, values, tokens_per_page=4).keys == 9 + 2
    values["kv_indices"] = [5, 6, 7, 5, 6]  # and the second, of which one sequence has two keys
    assert attended(definition, axes, values, tokens_per_page=4).keys == 9
    assert attended(definition, axes, values, tokens_per_page=4, window=3).keys == 1 + 3
    assert attended(definition, axes, values, tokens_per_page=4).pairs == 9 + 6


def test_what_is_not_read_whole() -> None:
    definition = attention(decode=True, page_size=4)
    axes, _ = batch([1, 1], [9, 6], 4)
    tables = 4 * (3 + 5 + 2)  # kv_indptr, kv_indices, kv_last_page_len
    assert moved(definition, axes, 7, "bfloat16") == Cost(7, "bfloat16", 8 + tables, 8)
    other = moved(definition, axes, 7, "bfloat16", instead={"kv_indices": 4})
    assert other.bytes_moved == 8 + 8 + tables - 16
    seen = attended(definition, axes, {}, tokens_per_page=4)
    cost = attention_cost(seen, lambda a: moved(definition, axes, a.pairs, "bfloat16"))
    assert (cost.flops, cost.certain.flops) == (seen.pairs, 3 * 4 + 2)
    assert cost.assumes == "sequences are alike and share no page"


def test_of_an_unknown_op_the_outputs_are_certain() -> None:
    definition = Definition(
        name="thing_n8",
        op_type="thing",
        axes={"m": var(), "n": const(8)},
        inputs={"x": tensor("m n", "float8_e4m3fn"), "scale": scalar("float32")},
        outputs={"y": tensor("m n", "float32")},
        reference="def run(x, scale):\n    return x\n",
    )
    cost = whole(definition, {"m": 3})
    assert (cost.flops, cost.dtype, cost.bytes_read, cost.bytes_written) == (
        *(0, "float8_e4m3fn", 24, 96),
    )
    assert cost.intensity == 0
    assert cost.certain == Cost(0, "float8_e4m3fn", 0, 96)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kv_indptr": [0, 5, 2]},
        {"kv_indptr": [0, 3]},
        {"kv_last_page_len": [1]},
        {"kv_last_page_len": [-9, -9]},
    ],
    ids=str,
)
def test_offsets_that_cannot_be_are_not_known(wrong: dict[str, list[int]]) -> None:
    definition = attention(decode=True, page_size=4)
    axes, values = batch([1, 1], [3, 6], 4)
    found = attended(definition, axes, values | wrong, tokens_per_page=4)
    assert found == attended(definition, axes, {}, tokens_per_page=4)


def test_any_number_of_sequences_is_counted_at_once() -> None:
    definition = attention(decode=False, page_size=4)
    axes = dict.fromkeys(definition.var_axes, 10**15)
    found = attended(definition, axes, {}, tokens_per_page=4, window=9)
    assert found.pairs >= (found.least or found).pairs > 10**14
    nothing = dict.fromkeys(definition.var_axes, 0)
    assert attended(definition, nothing, {}, tokens_per_page=4).pairs == 0
