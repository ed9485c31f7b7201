"""Batches of sequences whose new tokens are written to a paged cache."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_move.definitions import layout_of
from fibcore_op_move.names import KINDS

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Batch

PAGE_SIZE = 64
"""Tokens in a page where no const axis says it."""

SCALES = (0.55, 0.3)
"""What keys and values of about one are divided by, so that fp8 holds them and one sees it.

By no powers of two, after which all roundings would be the same."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """Decode batches and prompts, the pages of all sequences in no order.

    None for a definition with other tensors.
    """
    layout = layout_of(definition)
    if layout is None:
        return ()
    scalars = dict(zip(KINDS[layout].scales, SCALES, strict=False))
    from fibcore.plugin import decode_batches, page_counts, pool_size, prefill_batches

    page_size = definition.const_axes.get("page_size", PAGE_SIZE)
    found = []
    for batch in (
        *decode_batches(seed, definition.name),
        *prefill_batches(seed, definition.name, prefixes=True),
    ):
        used = sum(page_counts(batch.keys, page_size))
        sizes = {
            "nnz_kv": sum(batch.queries),
            "num_pages": pool_size(used),
            "page_size": page_size,
            "batch_size": batch.size,
            "batch_size_plus_1": batch.size + 1,
            "num_kv_indices": used,
        }
        axes = {name: sizes[name] for name in definition.var_axes}
        tensors = functools.partial(_tensors, definition.name, batch, page_size, seed)
        found.append(WorkloadCase(batch.label, axes, scalars, tensors=tensors))
    return tuple(found)


def _tensors(
    name: str, batch: Batch, page_size: int, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """The integer inputs, all int32: a sequence's new tokens are its last ones."""
    import numpy as np

    from fibcore.plugin import indptr, last_page_lengths, page_counts, page_numbers

    pages = page_counts(batch.keys, page_size)
    lengths = list(zip(batch.queries, batch.keys, strict=True))
    return {
        "batch_indices": np.repeat(np.arange(batch.size, dtype=np.int32), batch.queries),
        "positions": np.concatenate(
            [np.arange(keys - new, keys, dtype=np.int32) for new, keys in lengths]
        ),
        "kv_indices": page_numbers(seed, sum(pages), name, batch.label),
        "kv_indptr": indptr(pages),
        "kv_last_page_len": last_page_lengths(batch.keys, page_size),
    }
