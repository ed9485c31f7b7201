"""Batches to benchmark block-sparse attention and the choice of its blocks with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_msa.definitions import kind_of

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Batch


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches, one query a sequence; empty for definitions that are not this plugin's."""
    kind = kind_of(definition)
    if kind is None:
        return ()
    from fibcore.plugin import decode_batches, page_counts, pool_size

    sizes, found = definition.const_axes, []
    scalars = {}
    if kind == "attention":
        scalars = {"sm_scale": float(constants.get("sm_scale", sizes["head_dim"] ** -0.5))}
    for batch in decode_batches(seed, definition.name):
        pages = page_counts(batch.keys, sizes["page_size"])
        axes = {
            "num_tokens": batch.size,
            "num_pages": pool_size(sum(pages)),
            "max_num_pages": max(*pages, 1),
        }
        made = functools.partial(_tensors, definition, batch, axes["max_num_pages"], seed)
        found.append(WorkloadCase(batch.label, axes, scalars, made))
    return tuple(found)


def _tensors(
    definition: Definition, batch: Batch, width: int, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Tables and lengths; any blocks of each sequence, its last one among them."""
    import numpy as np

    from fibcore.plugin import generator, page_counts, page_numbers

    sizes = definition.const_axes
    counts = page_counts(batch.keys, sizes["page_size"])
    numbers = page_numbers(seed, sum(counts), definition.name, batch.label)
    table = np.zeros((batch.size, width), np.int32)
    for row, pages in enumerate(np.split(numbers, np.cumsum(counts)[:-1])):
        table[row, : len(pages)] = pages
    found = {"seq_lens": np.array(batch.keys, np.int32), "block_table": table}
    if "block_indices" not in definition.inputs:
        return found
    heads, topk = sizes["num_kv_heads"], sizes["topk"]
    chosen = np.full((batch.size, heads, topk), -1, np.int32)
    for row, keys in enumerate(batch.keys):
        last = -(-keys // sizes["block_size"]) - 1
        draws = generator(seed, "blocks", definition.name, batch.label, row)
        for head in range(heads):
            others = draws.permutations(1, last)[0][: topk - 1] if last > 0 else []
            own = np.sort(np.concatenate([others, [last]]).astype(np.int32))
            chosen[row, head, : len(own)] = own
    return {**found, "block_indices": chosen}
