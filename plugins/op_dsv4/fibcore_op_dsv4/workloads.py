"""Batches to benchmark DeepSeek-V4's attention with, and what goes into it and comes out of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_dsv4.definitions import kind_of
from fibcore_op_dsv4.names import PAGE_SIZE, SCALE_BYTES, TILE

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Batch

    Arrays = Mapping[str, np.ndarray[Any, Any]]

MOST_BYTES = 1 << 24
"""Bytes of the caches of a workload: they cannot be random, and so they stand in the dataset."""

LARGEST = 0x48
"""Bits of 4.0 in fp8: elements are up to so large, as many of each power of two."""

POSITIONS = 4096
"""Rows of the table of angles."""


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches of attention, numbers of tokens of the rest.

    Empty for definitions that are not this plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    if kind in ("window", "compressed"):
        return tuple(_attention(definition, constants, seed))
    return tuple(_rows(definition, constants, seed, tokens) for tokens in TOKENS)


def _attention(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> list[WorkloadCase]:
    from fibcore.plugin import decode_batches, pool_size

    sizes = definition.const_axes
    scale = float(constants.get("bmm1_scale", sizes["head_dim"] ** -0.5))
    found = []
    for batch in decode_batches(seed, definition.name):
        swa = pool_size(batch.size)
        axes = {"num_tokens": batch.size, "swa_num_pages": swa}
        size = swa * sizes["swa_page_size"] * sizes["swa_kv_dim"]
        if "compressed_page_size" in sizes:
            page = sizes["compressed_page_size"]
            ratio = PAGE_SIZE // page
            pages = [-(-(keys // ratio) // page) for keys in batch.keys]
            axes["compressed_num_pages"] = pool_size(max(1, sum(pages)))
            # A key of four tokens is chosen by an indexer, one of more is always seen.
            most = max(keys // ratio for keys in batch.keys)
            axes["extra_topk"] = max(
                TILE, -(-min(most, 512 if ratio == 4 else most) // TILE) * TILE
            )
            size += axes["compressed_num_pages"] * page * sizes["compressed_kv_dim"]
        if size > MOST_BYTES:
            continue
        tensors = functools.partial(_seen, definition, batch, axes, seed)
        found.append(WorkloadCase(batch.label, axes, {"bmm1_scale": scale}, tensors))
    return found


def _seen(definition: Definition, batch: Batch, axes: Mapping[str, int], seed: int) -> Arrays:
    """The last keys of each sequence, compressed ones of all of it, and the caches of both."""
    import numpy as np

    from fibcore.plugin import generator, page_numbers

    sizes = definition.const_axes
    topk, page = sizes["sparse_topk"], sizes["swa_page_size"]
    draws = generator(seed, "latents", definition.name, batch.label)
    indices = np.full((batch.size, topk), -1, np.int32)
    numbers = page_numbers(seed, batch.size, definition.name, batch.label)
    for row, (keys, number) in enumerate(zip(batch.keys, numbers, strict=True)):
        count = min(keys, topk, page)
        indices[row, :count] = number * page + (np.arange(keys - count, keys) % page)
    found = {
        "swa_kv_cache": _cache(definition, "swa", axes["swa_num_pages"], draws),
        "sparse_indices": indices,
        "swa_topk_lens": np.minimum(np.array(batch.keys), min(topk, page)).astype(np.int32),
        # As much weight as hundreds of keys have: a kernel that leaves them out is seen.
        "sinks": draws.uniform(4, 7, sizes["num_heads"]).astype(np.float32),
    }
    if "compressed_page_size" not in sizes:
        return found
    page, width = sizes["compressed_page_size"], axes["extra_topk"]
    ratio = PAGE_SIZE // page
    extra = np.full((batch.size, width), -1, np.int32)
    lengths = np.zeros(batch.size, np.int32)
    pages = [-(-(keys // ratio) // page) for keys in batch.keys]
    table = np.split(
        page_numbers(seed, sum(pages), definition.name, batch.label, "compressed"),
        np.cumsum(pages)[:-1],
    )
    for row, (keys, own) in enumerate(zip(batch.keys, table, strict=True)):
        held = keys // ratio
        count = min(held, width)
        order = generator(seed, "chosen", definition.name, batch.label, row)
        chosen = order.permutations(1, held)[0][:count] if held else np.zeros(0, np.int64)
        extra[row, :count] = own[chosen // page] * page + chosen % page
        lengths[row] = count
    found["compressed_kv_cache"] = _cache(
        definition, "compressed", axes["compressed_num_pages"], draws
    )
    return {**found, "extra_sparse_indices": extra, "extra_sparse_topk_lens": lengths}


def _cache(definition: Definition, pool: str, pages: int, draws: Any) -> np.ndarray[Any, Any]:
    """Bytes of latent vectors, whose scales are 1/4 to 1."""
    import numpy as np

    sizes = definition.const_axes
    page, size, head = sizes[f"{pool}_page_size"], sizes[f"{pool}_kv_dim"], sizes["head_dim"]
    rope = size - SCALE_BYTES - head
    shape = (pages, page, head - rope)
    values = draws.uniform(0, LARGEST + 1, *shape).astype(np.uint8)
    values |= draws.uniform(0, 2, *shape).astype(np.uint8) << 7
    turned = draws.uniform(-2, 2, pages, page, rope).astype(np.float32).view(np.uint32)
    halves = (turned >> 16).astype(np.uint16).view(np.uint8)
    scales = draws.uniform(125, 128, pages, page, SCALE_BYTES).astype(np.uint8)
    data = np.concatenate((values, halves), -1).reshape(pages, -1)
    whole = np.concatenate((data, scales.reshape(pages, -1)), 1)
    return whole.view(np.int8).reshape(pages, page, 1, size)


def _rows(
    definition: Definition, constants: Mapping[str, Scalar], seed: int, tokens: int
) -> WorkloadCase:
    from fibcore.plugin import pool_size

    sizes = definition.const_axes
    axes = {"num_tokens": tokens}
    if "window" in sizes:
        axes |= {"num_windows": tokens, "num_states": tokens * sizes["window"]}
    else:
        axes["max_position"] = POSITIONS
    if "out_loc" in definition.inputs:
        axes["num_pages"] = pool_size(-(-tokens // sizes["page_size"]))
    scalars = {}
    if "weight_scale" in definition.inputs:
        scale = constants.get("weight_scale", (sizes["head_dim"] * sizes["num_heads"]) ** -0.5)
        scalars = {"weight_scale": float(scale)}
    tensors = functools.partial(_given, definition, dict(axes), seed)
    return WorkloadCase(f"{tokens} tokens", axes, scalars, tensors)


def _given(definition: Definition, axes: Mapping[str, int], seed: int) -> Arrays:
    """Windows of tokens in the buffer; angles, positions and places."""
    import numpy as np

    from fibcore.plugin import generator

    tokens, sizes = axes["num_tokens"], definition.const_axes
    draws = generator(seed, "rows", definition.name, tokens)
    if "window" in sizes:
        window = sizes["window"]
        listed = np.arange(tokens * window, dtype=np.int32).reshape(tokens, window)
        listed[:, -1] = axes["num_states"] + np.arange(tokens)
        written = np.arange(tokens, dtype=np.int32) * window + window - 1
        return {"window_indices": listed, "write_indices": written}
    rope = sizes["rope_dim"]
    angle = np.arange(POSITIONS)[:, None] * 10000.0 ** (-np.arange(rope // 2) * 2 / rope)
    table = np.stack((np.cos(angle), np.sin(angle)), -1).reshape(POSITIONS, rope)
    found = {
        "cos_sin_cache": table.astype(np.float32),
        "positions": draws.uniform(0, POSITIONS, tokens).astype(np.int32),
    }
    if "out_loc" in definition.inputs:
        places = axes["num_pages"] * sizes["page_size"]
        found["out_loc"] = draws.permutations(1, places)[0][:tokens].astype(np.int32)
    return found
