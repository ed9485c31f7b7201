"""What is called how: op types, kinds, names of definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from fibcore.plugin import OpType

ATTENTION = "sparse_mla_dsv4"
COMPRESS = "dsv4_compress"
STORE = "dsv4_norm_rope_store"
QUERY = "dsv4_query"

KindName = Literal[
    "window",
    "compressed",
    "overlap",
    "plain",
    "k_store",
    "latent_store",
    "index_k_store",
    "q_norm_rope",
    "inverse_rope",
    "index_q",
]


@attrs.frozen
class Kind:
    """What sets one of the plugin's kernels apart.

    Attributes:
        op_type: Its op type.
        stem: What names of definitions begin with.
        file: The reference's, and the part of ground truths' names that says the function.
        sizes: Const axes, by the letters that stand before their sizes in names.
        words: Marks of the reference's lines that the kind has.
    """

    op_type: str
    stem: str
    file: str
    sizes: Mapping[str, str]
    words: tuple[str, ...] = ()

    def name(self, sizes: Mapping[str, int]) -> str:
        """The definition's name: `sparse_mla_dsv4_fp8_h8_d512_topk128_ps256_cps64`."""
        return "_".join((self.stem, *(f"{n}{sizes[axis]}" for n, axis in self.sizes.items())))


_WINDOW = {"h": "num_heads", "d": "head_dim", "topk": "sparse_topk", "ps": "swa_page_size"}
_STORE = {"d": "head_dim", "rd": "rope_dim", "ps": "page_size"}
_COMPRESS = {"w": "window", "d": "head_dim"}

KINDS: dict[KindName, Kind] = {
    "window": Kind(ATTENTION, "sparse_mla_dsv4_fp8", "sparse_mla_dsv4", _WINDOW),
    "compressed": Kind(
        ATTENTION,
        "sparse_mla_dsv4_fp8",
        "sparse_mla_dsv4",
        {**_WINDOW, "cps": "compressed_page_size"},
        ("compressed",),
    ),
    "overlap": Kind(COMPRESS, "dsv4_compress_overlap", "dsv4_compress", _COMPRESS, ("overlap",)),
    "plain": Kind(COMPRESS, "dsv4_compress", "dsv4_compress", _COMPRESS),
    "k_store": Kind(STORE, "dsv4_k_norm_rope_store_fp8", "dsv4_k_store", _STORE),
    "latent_store": Kind(STORE, "dsv4_compressed_norm_rope_store_fp8", "dsv4_k_store", _STORE),
    "index_k_store": Kind(
        STORE, "dsv4_index_k_norm_rope_hadamard_store_fp8", "dsv4_index_k_store", _STORE
    ),
    "q_norm_rope": Kind(
        QUERY,
        "dsv4_q_norm_rope",
        "dsv4_q_norm_rope",
        {"h": "num_heads", "d": "head_dim", "rd": "rope_dim"},
    ),
    "inverse_rope": Kind(
        QUERY, "dsv4_inverse_rope", "dsv4_inverse_rope", {"h": "num_heads", "rd": "rope_dim"}
    ),
    "index_q": Kind(
        QUERY,
        "dsv4_index_q_rope_hadamard_quant_fp8",
        "dsv4_index_q",
        {"h": "num_heads", "d": "head_dim", "rd": "rope_dim"},
    ),
}

MARKS = ("compressed", "overlap")
"""Words of marks that lines of the references have."""

OP_TYPES = (
    OpType(ATTENTION, "latent attention to a window of keys and to compressed ones, in fp8 caches"),
    OpType(COMPRESS, "one latent vector of several tokens'"),
    OpType(STORE, "normalised and turned latent vectors and index keys, written to fp8 caches"),
    OpType(QUERY, "what queries go through before attention, and its output behind it"),
)

PAGE_SIZE = 256
"""Tokens in a page: the only number that SGLang's backend takes (`DeepseekV4AttnBackend`).

A page of compressed keys has those of so many tokens.
"""

SCALE_BYTES = 8
"""Bytes of a latent vector's scales: one for 64 elements, and one that nothing reads."""

TILE = 64
"""Elements of a latent vector that share a scale."""

INDEX_SCALE_BYTES = 4
"""Bytes of the float32 scale that an index key has."""

FLASHMLA = "flash_mla.flash_mla_with_kvcache"
"""DeepSeek's kernel, which SGLang calls."""


def kv_dim(head_dim: int, rope_dim: int) -> int:
    """Bytes of a latent vector in a cache: fp8 elements, bfloat16 ones, scales."""
    return head_dim - rope_dim + 2 * rope_dim + SCALE_BYTES
