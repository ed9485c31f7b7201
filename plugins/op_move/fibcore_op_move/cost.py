"""What a write to a paged cache costs: no operations, what is appended twice, the page table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import Cost, Definition, tensor_bytes
from fibcore_op_move.definitions import layout_of
from fibcore_op_move.names import KINDS, TABLE

_NUMBER = 4  # bytes of an int32


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """What is appended is read once and written once; the rest of the caches stays where it is.

    Of the page table a new token's entries are read: its page, and where its sequence begins, at
    most all of them. The definition gives the caches whole, for it changes no input; a kernel
    writes in place, so copies of them are no part of the cost. None for other tensors.
    """
    layout = layout_of(definition)
    if layout is None:
        return None
    kind = KINDS[layout]

    def size(name: str) -> int:
        return tensor_bytes(definition.inputs[name], definition, axes)

    rows, tokens = sum(map(size, kind.appended)), axes["nnz_kv"]
    narrow = kind.dtype != "bfloat16"
    table = sum(map(size, TABLE))
    pages = min(tokens * _NUMBER, size("kv_indices")) + min(tokens * _NUMBER, size("kv_indptr"))
    row = definition.const_axes.get("kv_dim", rows // (1 + narrow) // max(1, tokens))
    written = min(row * tokens, sum(map(size, kind.caches)))
    if kind.implied:  # a latent vector's elements are held against the largest, and divided
        elements = definition.const_axes["head_dim_ckv"] * tokens
        return Cost(2 * elements, "float32", rows + table + pages, written)
    if narrow:  # each element is converted, where there are scales divided as well
        elements, each = rows // 2, 1 + bool(kind.scales)
        return Cost(each * elements, "float32", rows + table + pages, written)
    return Cost(0, definition.inputs[kind.appended[0]].dtype, rows + table + pages, written)
