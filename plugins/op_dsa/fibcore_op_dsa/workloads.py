"""Batches to benchmark sparse attention and the choice of its keys with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_dsa.definitions import kind_of
from fibcore_op_dsa.names import SCALE_BYTES, SCALED_BLOCK

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Batch

# Dimensions of a head without position before absorption, in all models of the DeepSeek family.
NOPE_DIM = 128

MOST_KEYS = 1 << 16
"""Keys of all sequences of a workload with a cache of bytes: they cannot be random, because some
bytes are no numbers, so they stand in the dataset."""

MOST_TOKENS = MOST_KEYS // 2
"""The same where a key has several hundred bytes."""

LARGEST = 0x48
"""Bits of 4.0 in fp8: elements of index keys are up to so large, as many of each power of two."""


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches, one query a sequence; empty for definitions that are not this plugin's.

    Every query has a key, because flashinfer-bench takes an lse of -inf for a wrong result.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    from fibcore.plugin import decode_batches, page_counts, pool_size

    sizes = definition.const_axes
    page_size, topk = sizes["page_size"], sizes["topk"]
    found = []
    for batch in decode_batches(seed, definition.name):
        pages = page_counts(batch.keys, page_size)
        axes = {"num_pages": pool_size(sum(pages))}
        if kind != "indexer":
            scale = constants.get("sm_scale")
            if scale is None:
                scale = (NOPE_DIM + sizes["head_dim_kpe"]) ** -0.5
            axes["num_tokens"] = batch.size
            chosen = _chosen if kind == "attention" else _chosen_of_bytes
            made = functools.partial(chosen, definition, batch, page_size, topk, seed)
            scalars = {"sm_scale": float(scale)}
            if kind == "scaled" and sum(batch.keys) > MOST_TOKENS:
                continue
        elif sum(batch.keys) <= MOST_KEYS:
            axes["batch_size"] = batch.size
            axes["max_num_pages"] = max(*pages, -(-topk // page_size), 1)
            made = functools.partial(
                _index_keys, definition, batch, page_size, axes["max_num_pages"], seed
            )
            scalars = {}
        else:
            continue
        found.append(WorkloadCase(batch.label, axes, scalars, made))
    return tuple(found)


def _tables(
    definition: Definition, batch: Batch, page_size: int, seed: int
) -> list[np.ndarray[Any, Any]]:
    """The page numbers of each sequence."""
    import numpy as np

    from fibcore.plugin import page_counts, page_numbers

    counts = page_counts(batch.keys, page_size)
    numbers = page_numbers(seed, sum(counts), definition.name, batch.label)
    return np.split(numbers, np.cumsum(counts)[:-1])


def _chosen(
    definition: Definition, batch: Batch, page_size: int, topk: int, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Any keys of each sequence in any order, its last one among them, and -1 behind them."""
    import numpy as np

    from fibcore.plugin import generator

    indices = np.full((batch.size, topk), -1, np.int32)
    tables = _tables(definition, batch, page_size, seed)
    for row, (table, length) in enumerate(zip(tables, batch.keys, strict=True)):
        draws = generator(seed, "chosen", definition.name, batch.label, row)
        others = draws.permutations(1, length - 1)[0][: topk - 1] if length > 1 else []
        token = np.concatenate([[length - 1], others]).astype(np.int64)
        indices[row, : len(token)] = table[token // page_size] * page_size + token % page_size
    return {"sparse_indices": indices}


def _chosen_of_bytes(
    definition: Definition, batch: Batch, page_size: int, topk: int, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """The same, and a cache of fp8 numbers of about one with scales, and of rope parts.

    Scales of a token's blocks are drawn by themselves, so that one sees where they are mixed up.
    """
    import numpy as np

    from fibcore.plugin import generator, page_counts, pool_size

    sizes = definition.const_axes
    num_pages = pool_size(sum(page_counts(batch.keys, page_size)))
    draws = generator(seed, "a cache of bytes", definition.name, batch.label)
    ckv, rows = sizes["head_dim_ckv"], (num_pages, page_size)
    numbers = _numbers(draws, *rows, ckv)
    blocks = ckv // SCALED_BLOCK
    # What a block is divided by, so that its numbers are about as large as fp8's largest one.
    scales = draws.uniform(0.125, 0.5, *rows, blocks).astype(np.float32)
    # bfloat16 has the upper half of the bits of float32.
    rope = draws.uniform(-2.0, 2.0, *rows, sizes["head_dim_kpe"]).astype(np.float32)
    upper = (rope.view(np.uint32) >> 16).astype(np.uint16)
    parts = (
        numbers,
        scales.view(np.int8).reshape(*rows, blocks * SCALE_BYTES),
        upper.view(np.int8).reshape(*rows, 2 * sizes["head_dim_kpe"]),
    )
    chosen = _chosen(definition, batch, page_size, topk, seed)
    return {"kv_cache": np.concatenate(parts, -1), **chosen}


def _numbers(draws: Any, *shape: int) -> np.ndarray[Any, Any]:
    """Bytes of fp8 numbers of both signs, as many of each power of two."""
    import numpy as np

    size = draws.uniform(0, LARGEST + 1, *shape).astype(np.uint8)
    sign = (draws.uniform(0, 2, *shape).astype(np.uint8) << 7).astype(np.uint8)
    made: np.ndarray[Any, Any] = (size | sign).view(np.int8)
    return made


def _index_keys(
    definition: Definition, batch: Batch, page_size: int, width: int, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Pages of keys and scales, the tables that name them, and the lengths of the sequences."""
    import numpy as np

    from fibcore.plugin import generator, pool_size

    dim = definition.const_axes["index_head_dim"]
    tables = _tables(definition, batch, page_size, seed)
    table = np.zeros((batch.size, width), np.int32)
    for row, pages in enumerate(tables):
        table[row, : len(pages)] = pages
    num_pages = pool_size(sum(len(pages) for pages in tables))
    draws = generator(seed, "index keys", definition.name, batch.label)
    shape = (num_pages, page_size * dim)
    values = _numbers(draws, *shape)
    scales = draws.uniform(0.5, 2.0, num_pages, page_size).astype(np.float32).view(np.int8)
    cache = np.concatenate((values, scales.reshape(num_pages, page_size * SCALE_BYTES)), 1)
    return {
        "k_index_cache_fp8": cache.reshape(num_pages, page_size, 1, dim + SCALE_BYTES),
        "seq_lens": np.array(batch.keys, np.int32),
        "block_table": table,
    }
