"""What sparse attention and the choice of its keys cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_dsa.definitions import kind_of

Values = Mapping[str, Sequence[int]]


def cost(definition: Definition, axes: Mapping[str, int], values: Values) -> Cost | None:
    """Products of queries and the keys that they see, or choose from; keys are read once.

    None for a definition that is not this plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return None
    if kind != "indexer":
        return _attention(definition, axes, values.get("sparse_indices"))
    return _indexer(definition, axes, values)


def _attention(
    definition: Definition, axes: Mapping[str, int], indices: Sequence[int] | None
) -> Cost:
    """A latent vector is key and value of all heads and is read once, whoever sees it."""
    sizes = definition.const_axes
    ckv, kpe = sizes["head_dim_ckv"], sizes["head_dim_kpe"]

    def count(pairs: int, keys: int) -> Cost:
        flops = 2 * (2 * ckv + kpe) * sizes["num_qo_heads"] * pairs
        read = {"ckv_cache": 2 * ckv * keys, "kpe_cache": 2 * kpe * keys}
        if "kv_dim" in sizes:
            read = {"kv_cache": sizes["kv_dim"] * keys}
        return moved(definition, axes, flops, "bfloat16", instead=read)

    if indices is not None:
        seen = [index for index in indices if index >= 0]
        return count(len(seen), len(set(seen)))
    pool = axes["num_pages"] * sizes["page_size"]
    pairs = axes["num_tokens"] * min(sizes["topk"], pool)
    return attrs.evolve(
        count(pairs, min(pairs, pool)),
        assumes="each query sees as many keys as it may, and no other sees them",
        least=count(0, 0),
    )


def _indexer(definition: Definition, axes: Mapping[str, int], values: Values) -> Cost:
    """All index heads multiply a key, which is read once with its scale."""
    sizes = definition.const_axes
    heads, page_size = sizes["num_index_heads"], sizes["page_size"]

    def count(pairs: int, keys: int, listed: int) -> Cost:
        # The product of a head, and the weighted sum over heads.
        flops = 2 * heads * (sizes["index_head_dim"] + 1) * pairs
        read = {
            "k_index_cache_fp8": sizes["head_dim_with_scale"] * keys,
            "block_table": 4 * listed,
        }
        return moved(definition, axes, flops, "float8_e4m3fn", instead=read)

    pool, width = axes["num_pages"] * page_size, axes["max_num_pages"]
    lengths, table = values.get("seq_lens"), values.get("block_table")
    if lengths is None:
        pairs = axes["batch_size"] * min(width * page_size, pool)
        return attrs.evolve(
            count(pairs, min(pairs, pool), -(-pairs // page_size)),
            assumes="each query chooses from as many keys as its table has room for",
            least=count(0, 0, 0),
        )
    pairs, listed = sum(lengths), sum(-(-n // page_size) for n in lengths)
    if table is None:
        return attrs.evolve(
            count(pairs, min(pairs, pool), listed),
            assumes="no page is shared",
            least=count(pairs, max(lengths, default=0), listed),
        )
    held: dict[int, int] = {}
    for row, length in enumerate(lengths):
        for place in range(-(-length // page_size)):
            page = table[row * width + place]
            here = min(page_size, length - place * page_size)
            held[page] = max(held.get(page, 0), here)
    return count(pairs, sum(held.values()), listed)
