"""What grouped query attention costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Attended, Cost, Definition, attended, attention_cost, moved
from fibcore_op_gqa.definitions import extras_of, kind_of
from fibcore_op_gqa.names import PAGE_SIZE


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Two products of head_dim for each query head, query and key that it sees.

    Of the cache, the keys and values that a query sees are read, once; of the page table, their
    pages. None for attention that is not this plugin's.
    """
    if kind_of(definition) is None:
        return None
    sizes = definition.const_axes
    page_size = sizes.get(PAGE_SIZE.name)
    heads, width = sizes["num_qo_heads"], sizes["head_dim"]
    key = sizes["num_kv_heads"] * width * 2  # bytes of a bfloat16 key of all heads
    names = ("k", "v") if page_size is None else ("k_cache", "v_cache")

    def count(seen: Attended) -> Cost:
        read = dict.fromkeys(names, seen.keys * key)
        if page_size is not None:
            read["kv_indices"] = 4 * seen.listed
        return moved(definition, axes, 2 * 2 * width * heads * seen.pairs, "bfloat16", instead=read)

    extras = extras_of(definition)
    seen = attended(
        definition,
        axes,
        values,
        tokens_per_page=page_size,
        window=extras.window,
        chunk=extras.chunk,
        causal=extras.causal,
    )
    return attention_cost(seen, count)
