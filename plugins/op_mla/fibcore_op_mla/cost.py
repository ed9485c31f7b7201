"""What latent attention costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Attended, Cost, Definition, attended, attention_cost, moved
from fibcore_op_mla.definitions import cache_of, kind_of
from fibcore_op_mla.names import PAGE_SIZE


def cost(
    definition: Definition, axes: Mapping[str, int], values: Mapping[str, Sequence[int]]
) -> Cost | None:
    """A product of a key's width and one of a value's for each head, query and key that it sees.

    In the absorbed form a latent vector is key and value of all heads and is read once; with
    materialised keys and values each head has its own. None for attention that is not this
    plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return None
    sizes = definition.const_axes
    page_size = sizes.get(PAGE_SIZE.name)
    # Bytes of what a sequence keeps for a key, by input; all of it is bfloat16 but a cache of fp8.
    number = 2 if cache_of(definition) is None else 1
    if kind == "ragged":
        widths = sizes["qk_dim"] + sizes["vo_dim"]
        key = {
            "k": 2 * sizes["num_kv_heads"] * sizes["qk_dim"],
            "v": 2 * sizes["num_kv_heads"] * sizes["vo_dim"],
        }
    else:
        widths = 2 * sizes["head_dim_ckv"] + sizes["head_dim_kpe"]
        key = {
            "ckv_cache": number * sizes["head_dim_ckv"],
            "kpe_cache": number * sizes["head_dim_kpe"],
        }

    def count(seen: Attended) -> Cost:
        read = {name: seen.keys * size for name, size in key.items()}
        if page_size is not None:
            read["kv_indices"] = 4 * seen.listed
        flops = 2 * widths * sizes["num_qo_heads"] * seen.pairs
        return moved(definition, axes, flops, "bfloat16", instead=read)

    return attention_cost(attended(definition, axes, values, tokens_per_page=page_size), count)
