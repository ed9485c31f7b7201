"""Finds grouped query attention in a model tree.

Every attention layer of SGLang that reads the KV cache is a `RadixAttention`
(`srt/layers/radix_attention.py`; its arguments are the same in 0.5.9 and 0.5.23 but for one that
does not change what is computed). Its head counts are those of one tensor-parallel rank, KV heads
already replicated where there are fewer than ranks. What its arguments and calls add to plain
causal attention makes it another kernel: a window and a cap are variants with definitions of their
own; sinks and all else are reported by name and never passed off as the plain one.
"""

from __future__ import annotations

import re

import attrs

from fibcore.plugin import (
    Extraction,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Serving,
)
from fibcore_op_gqa.kernels import Sizes, kernels_run, make_kernel
from fibcore_op_gqa.layer_settings import (
    UndecidedError,
    has_latent_twin,
    is_latent,
    setting,
    size,
    variants,
)
from fibcore_op_gqa.model_config import cache_dtype, config_value, window_of_config
from fibcore_op_gqa.names import (
    Extras,
)

_NO_DEFINITION = (
    "gqa definitions are softmax attention, causal in prefill, with nothing but a window and a cap"
)
_BIDIRECTIONAL = (
    "SGLang lets queries of a prompt see later keys where it runs without CUDA graphs and chunked "
    "prefill; " + _NO_DEFINITION
)
_VISION = "attention within an image or its windows, without a KV cache; " + _NO_DEFINITION
_VISION_BACKEND = re.compile(r"^Vision\w*Attention$")


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Kernels, uncovered variants and problems of every attention layer in `tree`.

    Layers that are multi-head latent attention are left alone: those whose values are not as wide
    as their keys, and their materialised twins.
    """
    found = KernelCollector(lenient=("sm_scale",))
    unused = None if _has_windows(tree) else window_of_config(tree)
    for node in tree.walk():
        if node.is_a("RadixAttention"):
            try:
                _layer(node, tree, serving, unused, found)
            except UndecidedError as undecided:
                found.problem(undecided.what, undecided.reason, node)
        elif node.is_a("VisionAttention"):
            _vision(node, found)
    return found.finish()


def _vision(node: ModuleNode, found: KernelCollector) -> None:
    """Name the attention of a vision tower: `VisionAttention` and the backend that it holds."""
    heads = node.attributes.get("num_attention_heads_per_partition")
    head_dim = node.attributes.get("hidden_size_per_attention_head")
    sizes = f" h{heads} d{head_dim}" if isinstance(heads, int) and isinstance(head_dim, int) else ""
    found.not_covered(f"vision attention{sizes}", _VISION, node)
    for child in node.children.values():
        if child.leaf and _VISION_BACKEND.match(child.class_name):
            found.claim(child)


def _layer(
    node: ModuleNode,
    tree: ModelTree,
    serving: Serving,
    unused_window: int | None,
    found: KernelCollector,
) -> None:
    head_dim = size(node, "head_dim")
    if is_latent(node) or has_latent_twin(node, tree):
        return
    qo_heads = size(node, "num_heads")
    kv_heads = size(node, "num_kv_heads")
    if qo_heads % kv_heads:
        raise UndecidedError(
            "attention heads",
            f"{qo_heads} query heads of a rank are no multiple of {kv_heads} KV heads "
            f"(tensor-parallel size {serving.tp})",
        )
    for variant in variants(node, tree):
        if variant.uncovered is not None:
            found.not_covered(variant.uncovered, _NO_DEFINITION, node)
            continue
        if not variant.causal:
            features = ("bidirectional attention over the prompt", *variant.extras.words)
            found.not_covered(f"gqa prefill with {' and '.join(features)}", _BIDIRECTIONAL, node)
        notes = _notes(variant.extras, unused_window, node, tree)
        sizes = Sizes(qo_heads, kv_heads, head_dim)
        # The cache alone is quantised: ragged prefill reads the fresh keys and values.
        cache = cache_dtype(tree)
        for kind, page_size in kernels_run(serving, variant.causal):
            if cache is None or page_size is None:
                kernel = make_kernel(kind, page_size, node, serving, sizes, variant.extras)
                found.add(attrs.evolve(kernel, notes=notes), node)
        if cache is not None and serving.stages:
            features = (*variant.extras.words, f"{cache} KV cache")
            found.not_covered(f"gqa_paged with {' and '.join(features)}", _NO_DEFINITION, node)


def _notes(
    extras: Extras, unused_window: int | None, node: ModuleNode, tree: ModelTree
) -> tuple[str, ...]:
    """What a reader of the report should know about the layer's kernels."""
    notes = [] if node.calls else [f"no call of {node.path} was seen: taken as a plain one"]
    if unused_window is not None:
        notes.append(
            f"the config's sliding_window {unused_window} is not used by SGLang: "
            "every key is attended to"
        )
    window, context = window_of_config(tree), config_value(tree, "max_position_embeddings")
    if extras.window is not None and window == extras.window - 1:
        notes.append(f"SGLang sees one key more than the config's sliding_window {window} says")
    if extras.window is not None and isinstance(context, int) and extras.window >= context:
        notes.append(f"the window is no shorter than the model's context of {context} tokens")
    return tuple(notes)


def _has_windows(tree: ModelTree) -> bool:
    """Whether any attention layer is given a window, or one that is not known."""
    layers = (node for node in tree.walk() if node.is_a("RadixAttention"))
    return any(setting(node, "sliding_window_size") not in (None, -1, 0) for node in layers)
