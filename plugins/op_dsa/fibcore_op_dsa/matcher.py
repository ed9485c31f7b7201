"""Finds sparse attention (DSA) and its indexers in a model tree, by structure and not by model.

A sparse module of latent attention has a switch (`use_nsa`, `use_dsa`) or an `Indexer`. Its
absorbed `RadixAttention` layer, whose value is the front part of its one key head, sees the keys
that the indexer chose: its own, or, where the module has none, that of the layer before it that
has one. The materialised layer beside it sees all keys of short prompts and is plain attention.
"""

from __future__ import annotations

import attrs

from fibcore.plugin import (
    Extraction,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Serving,
    UndecidedError,
    decided,
    has_block_scales,
    kv_cache_dtype,
)
from fibcore_op_dsa.kernels import LENIENT, attention_kernels, indexer_kernel, scaled_kernel
from fibcore_op_dsa.names import FP8, SCALED_BLOCK
from fibcore_op_dsa.settings import (
    COMPRESSED_INDEXER,
    INDEXER,
    POOLED_INDEXER,
    Shape,
    absorbed_shape,
    always_chosen,
    features,
    indexer_of,
    is_sparse,
    scale_of,
)


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Kernels, uncovered variants and problems of every sparse attention module in `tree`."""
    finder = _Finder(tree, serving, KernelCollector(lenient=LENIENT))
    last: ModuleNode | None = None
    for node in tree.walk():
        layers = [child for child in node.children.values() if child.is_a("RadixAttention")]
        if layers:
            last = indexer_of(node) or last
            for layer in layers:
                finder.attention(layer, node, last)
        if node.is_a(INDEXER, POOLED_INDEXER, COMPRESSED_INDEXER):
            finder.indexer(node)
    return finder.found.finish()


@attrs.frozen
class _Finder:
    tree: ModelTree
    serving: Serving
    found: KernelCollector

    def attention(self, layer: ModuleNode, parent: ModuleNode, indexer: ModuleNode | None) -> None:
        """Record what a layer of a module runs, if that is sparse attention."""
        try:
            if not is_sparse(parent):
                return
            shape = absorbed_shape(layer)
            if shape is not None:
                self._sparse(layer, parent, shape, indexer)
        except UndecidedError as why:
            self.found.problem("sparse attention", str(why), layer)

    def _sparse(
        self, layer: ModuleNode, parent: ModuleNode, shape: Shape, indexer: ModuleNode | None
    ) -> None:
        if indexer is None:
            raise UndecidedError("no indexer was found that chooses its keys")
        extras = list(features(layer, parent))
        if indexer.is_a(POOLED_INDEXER):
            extras.append("to pools of keys")
        cache = self._cache()
        scaled = cache == FP8 and has_block_scales(self.serving) is True
        if cache is not None and not scaled:
            extras.append(f"with {cache} KV cache")
        if scaled and shape.latent % SCALED_BLOCK:
            extras.append(f"with scales of {SCALED_BLOCK} of {shape.latent} elements")
        if extras:
            self.found.not_covered(
                f"dsa sparse attention {' and '.join(extras)}",
                "the dataset's sparse attention is plain softmax attention to single keys",
                layer,
            )
            return
        scale = self._scale(layer)
        if scaled:
            self.found.add(scaled_kernel(layer, shape, indexer, scale, self.serving), layer)
            return
        for kernel in attention_kernels(layer, shape, indexer, scale, self.serving):
            self.found.add(kernel, layer)

    def indexer(self, node: ModuleNode) -> None:
        """Record the choice of keys that an indexer makes."""
        what = "dsa top-k indexer"
        try:
            if node.is_a(POOLED_INDEXER):
                reason = "it chooses among pools of keys, which no definition does"
                self.found.not_covered(f"{what} over pools of keys", reason, node)
                return
            if decided(node.attributes.get("use_fp4_indexer", False), "use_fp4_indexer") is True:
                reason = "index keys are in FP4, and no definition has those"
                self.found.not_covered(f"{what} in FP4", reason, node)
                return
            forced = list(always_chosen(node))
            if forced:
                reason = "no definition has keys that are chosen whatever their scores"
                self.found.not_covered(f"{what} with {' and '.join(forced)}", reason, node)
                return
            self.found.add(indexer_kernel(node, self.tree.config), node)
        except UndecidedError as why:
            self.found.problem(what, str(why), node)

    def _cache(self) -> str | None:
        """Dtype of the cache where it is quantised, as the server is told or the GPU decides.

        Left to itself SGLang takes bfloat16 on Hopper for such models, whatever their checkpoint
        says. Trees of a release say what it comes to, others "auto".
        """
        return None if self.tree.kv_cache_dtype == "auto" else kv_cache_dtype(self.tree)

    def _scale(self, layer: ModuleNode) -> float | None:
        """The layer's scale; it is an input, so the kernel is found without it, too."""
        try:
            return scale_of(layer)
        except UndecidedError as why:
            self.found.problem("scaling of sparse attention", str(why), layer)
            return None
