"""What is called how: op types, kinds, names of definitions."""

from __future__ import annotations

from typing import Literal

from fibcore.plugin import Option, OpType

Kind = Literal["attention", "indexer"]
"""Attention to the blocks that were chosen, and their choice."""

OP_TYPE_OF: dict[Kind, str] = {"attention": "msa_sparse", "indexer": "msa_indexer"}

STEMS: dict[Kind, str] = {
    "attention": "msa_sparse_attention_paged",
    "indexer": "msa_block_topk_indexer",
}
"""What names of definitions begin with; the files of the references have these names, too."""

SIZES: dict[Kind, dict[str, str]] = {
    "attention": {
        "h": "num_qo_heads",
        "kv": "num_kv_heads",
        "d": "head_dim",
        "topk": "topk",
        "bs": "block_size",
        "ps": "page_size",
    },
    "indexer": {
        "h": "num_index_heads",
        "d": "head_dim",
        "topk": "topk",
        "bs": "block_size",
        "ps": "page_size",
    },
}
"""Const axes, by the letters that stand before their sizes in names."""

PAGE_SIZE: Option[tuple[int, ...]] = Option(
    "page_size", default=(1, 64), help="KV page sizes.", recorded_as="page_sizes"
)
"""Tokens in a page of the paged KV cache; index keys have the same pages."""

OP_TYPES = (
    OpType("msa_sparse", "attention of groups of heads to chosen blocks of keys", (PAGE_SIZE,)),
    OpType("msa_indexer", "the choice of blocks by the largest score of their keys", (PAGE_SIZE,)),
)


def kernel_name(kind: Kind, sizes: dict[str, int]) -> str:
    """The definition's name, `msa_block_topk_indexer_h1_d128_topk16_bs128_ps64`."""
    return "_".join((STEMS[kind], *(f"{n}{sizes[axis]}" for n, axis in SIZES[kind].items())))
