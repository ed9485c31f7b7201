"""Indexers of sparse attention, whose forward pass is of the kernels' own code.

SGLang's `Indexer` (`srt/layers/attention/nsa` and `dsa`) holds layers of norms and angles beside
its products. It calls them one after the other, or hands their parameters to kernels that do more
at once; what it has settled on when it is made stands in its attributes.
"""

from __future__ import annotations

import re

from fibcore.model.tree import ModelTree, ModuleNode, Unknown
from fibcore.ops.authoring.decided import UndecidedError

_INDEXER = re.compile(r"^sglang\.srt\.layers\.attention\.[nd]sa\.\w+\.Indexer$")
# Attributes that say so, and the kernels: of the part that searches, then of what is searched.
_KERNELS = {
    "use_gfx950_fused_indexer": ("Gfx950FusedIndexer",) * 2,
    "use_aiter_fused_fp8_writer": ("aiter_fused_fp8_qk_write",) * 2,
    "use_dsa_indexer_fusion": (
        "fused_q_indexer_rope_first_quant",
        "fused_k_indexer_norm_rope_store",
    ),
}


def kernels_of_indexer(node: ModuleNode, tree: ModelTree) -> tuple[str, ...] | None:
    """The kernels by which an indexer runs a layer that it holds.

    Args:
        node: The layer.
        tree: The model.

    Returns:
        Names of functions: that for queries, and that for keys; nothing where the indexer calls the
        layer itself. None where no indexer holds it.

    Raises:
        UndecidedError: it is not known which way it goes.
    """
    holder = tree.parent(node.path)
    if holder is None or _INDEXER.match(holder.cls) is None or not holder.calls:
        return None
    for name, kernels in _KERNELS.items():
        value = holder.attributes.get(name, False)
        if isinstance(value, Unknown) or not isinstance(value, bool):
            raise UndecidedError(f"{name} of the indexer that holds it is {value}")
        if value:
            return kernels
    return ()
