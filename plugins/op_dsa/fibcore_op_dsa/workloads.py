"""Batches to benchmark sparse attention and the choice of its keys with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_dsa.definitions import kind_of
from fibcore_op_dsa.names import SCALE_BYTES

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Batch

# Dimensions of a head without position before absorption, in all models of the DeepSeek family.
NOPE_DIM = 128

MOST_KEYS = 1 << 16
"""Keys of all sequences of an indexer's workload: index keys cannot be random bytes, of which some
are no numbers, so they stand in the dataset."""

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
        if kind == "attention":
            scale = constants.get("sm_scale")
            if scale is None:
                scale = (NOPE_DIM + sizes["head_dim_kpe"]) ** -0.5
            axes["num_tokens"] = batch.size
            made = functools.partial(_chosen, definition, batch, page_size, topk, seed)
            scalars = {"sm_scale": float(scale)}
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
    size = draws.uniform(0, LARGEST + 1, *shape).astype(np.uint8)
    sign = (draws.uniform(0, 2, *shape).astype(np.uint8) << 7).astype(np.uint8)
    values = (size | sign).view(np.int8)
    scales = draws.uniform(0.5, 2.0, num_pages, page_size).astype(np.float32).view(np.int8)
    cache = np.concatenate((values, scales.reshape(num_pages, page_size * SCALE_BYTES)), 1)
    return {
        "k_index_cache_fp8": cache.reshape(num_pages, page_size, 1, dim + SCALE_BYTES),
        "seq_lens": np.array(batch.keys, np.int32),
        "block_table": table,
    }
