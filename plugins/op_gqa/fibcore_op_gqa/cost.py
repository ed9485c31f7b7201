"""What grouped query attention costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Attended, Cost, Definition, attended, attention_cost, moved
from fibcore_op_gqa.definitions import extras_of, kind_of, widths
from fibcore_op_gqa.names import PAGE_SIZE


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """Two products, with a key head and a value head, for each query head and key that it sees.

    Of the cache, the keys and values that a query sees are read, once; of the page table, their
    pages. With a mask, which is not looked at, queries are taken to see all keys of their sequence.
    None for attention that is not this plugin's.
    """
    if kind_of(definition) is None:
        return None
    sizes = definition.const_axes
    page_size = sizes.get(PAGE_SIZE.name)
    heads, both = sizes["num_qo_heads"], widths(definition)
    names = ("k", "v") if page_size is None else ("k_cache", "v_cache")
    extras = extras_of(definition)
    number = 2 if extras.cache is None else 1  # bytes
    key, value = (sizes["num_kv_heads"] * width * number for width in both)

    def count(seen: Attended) -> Cost:
        read = {names[0]: seen.keys * key, names[1]: seen.keys * value}
        if page_size is not None:
            read["kv_indices"] = 4 * seen.listed
        return moved(definition, axes, 2 * sum(both) * heads * seen.pairs, "bfloat16", instead=read)

    seen = attended(
        definition,
        axes,
        values,
        tokens_per_page=page_size,
        window=extras.window,
        chunk=extras.chunk,
        causal=extras.causal,
    )
    if extras.mask:
        assumes = ", and ".join(
            word for word in (seen.assumes, "a mask shows every key of a sequence") if word
        )
        seen = attrs.evolve(seen, assumes=assumes, least=Attended(0, 0, 0))
    return attention_cost(seen, count)
