"""What is called how: op types, kinds, names of definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from fibcore.plugin import OpType

STORE = "dsa_index_k_store"
QUERY = "dsa_index_q"

KindName = Literal["k_store", "q"]
"""Keys, and queries."""


@attrs.frozen
class Kind:
    """What sets one of the plugin's kernels apart.

    Attributes:
        op_type: Its op type.
        stem: What names of definitions begin with.
        function: SGLang's name of the kernel.
        sizes: Const axes, by the letters that stand before their sizes in names.
    """

    op_type: str
    stem: str
    function: str
    sizes: Mapping[str, str]

    def name(self, sizes: Mapping[str, int]) -> str:
        """The definition's name: `dsa_index_q_rope_quant_fp8_h32_d128_rd64`."""
        return "_".join((self.stem, *(f"{n}{sizes[axis]}" for n, axis in self.sizes.items())))


KINDS: dict[KindName, Kind] = {
    "k_store": Kind(
        STORE,
        "dsa_index_k_norm_rope_store_fp8",
        "fused_k_indexer_norm_rope_store",
        {"d": "head_dim", "rd": "rope_dim", "ps": "page_size"},
    ),
    "q": Kind(
        QUERY,
        "dsa_index_q_rope_quant_fp8",
        "fused_q_indexer_rope_first_quant",
        {"h": "num_heads", "d": "head_dim", "rd": "rope_dim"},
    ),
}

OP_TYPES = (
    OpType(STORE, "normalised and turned index keys of sparse attention, written to an fp8 cache"),
    OpType(QUERY, "turned index queries of sparse attention in fp8, and their heads' weights"),
)

PAGE_SIZE = 64
"""Tokens in a page of index keys: the only number that SGLang's pools take on NVIDIA GPUs.

`DSATokenToKVPool` in `srt/mem_cache/memory_pool.py`.
"""

SCALE_BYTES = 4
"""Bytes of the float32 scale that an index key has."""
