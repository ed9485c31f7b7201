"""What index queries and keys cost: each is read and written once, and caches where they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved, tensor_bytes
from fibcore_op_dsa_index.definitions import kind_of

_CACHE = "k_index_cache_fp8"


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Operations of float32 numbers: three to turn an element, three to quantise it, and the norm.

    The norm takes seven: the mean, the difference from it, its square and their mean, the factors
    of row and weight, the bias. A kernel writes a cache in place: what is stored is written once,
    and nothing of the cache is read. None for a definition that is not this plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return None
    sizes = definition.const_axes
    head, rope, tokens = sizes["head_dim"], sizes["rope_dim"], axes["num_tokens"]
    # At most one row of the table of angles a token.
    read = {"cos_sin_cache": 4 * rope * min(tokens, axes["max_position"])}
    flops = 3 * rope + 3 * head
    if kind == "q":
        return moved(definition, axes, flops * sizes["num_heads"] * tokens, "float32", instead=read)
    read[_CACHE] = 0
    found = moved(definition, axes, (flops + 7 * head) * tokens, "float32", instead=read)
    pool = tensor_bytes(definition.inputs[_CACHE], definition, axes)
    return attrs.evolve(found, bytes_written=min(sizes["head_dim_with_scale"] * tokens, pool))
