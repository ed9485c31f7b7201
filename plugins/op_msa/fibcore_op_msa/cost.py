"""What block-sparse attention and the choice of its blocks cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved
from fibcore_op_msa.definitions import kind_of
from fibcore_op_msa.names import Kind

Values = Mapping[str, Sequence[int]]


def cost(definition: Definition, axes: Mapping[str, int], values: Values) -> Cost | None:
    """Products of queries and the keys that they see, or choose from; keys are read once.

    Keys of two queries are taken for different ones. None for a definition that is not this
    plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return None
    sizes, lengths = definition.const_axes, values.get("seq_lens")
    room = axes["max_num_pages"] * sizes["page_size"]
    most = sizes["topk"] * sizes["block_size"] if kind == "attention" else room
    if lengths is not None:
        return _count(definition, axes, kind, [min(length, most) for length in lengths])
    return attrs.evolve(
        _count(definition, axes, kind, [min(room, most)] * axes["num_tokens"]),
        assumes="each query has as many keys as its table has room for",
        least=_count(definition, axes, kind, []),
    )


def _count(
    definition: Definition, axes: Mapping[str, int], kind: Kind, seen: Sequence[int]
) -> Cost:
    sizes, keys = definition.const_axes, sum(seen)
    held = axes["num_pages"] * sizes["page_size"]
    listed = 4 * sum(-(-count // sizes["page_size"]) for count in seen)
    dim = sizes["head_dim"]
    if kind == "indexer":
        read = {"k_cache": 2 * dim * min(keys, held), "block_table": listed}
        flops = 2 * dim * sizes["num_index_heads"] * keys
        return moved(definition, axes, flops, "bfloat16", instead=read)
    rows = 2 * dim * sizes["num_kv_heads"] * min(keys, held)
    read = {"k_cache": rows, "v_cache": rows, "block_table": listed}
    flops = 4 * dim * sizes["num_qo_heads"] * keys
    return moved(definition, axes, flops, "bfloat16", instead=read)
