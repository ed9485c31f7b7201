"""Finds grouped query attention in a model tree.

Every attention layer of SGLang that reads the KV cache is a `RadixAttention`
(`srt/layers/radix_attention.py`; its arguments are the same in 0.5.9 and 0.5.23 but for one that
does not change what is computed). Its head counts are those of one tensor-parallel rank, KV heads
already replicated where there are fewer than ranks. What its arguments and calls add to plain
causal attention makes it another kernel: a window and a cap are variants with definitions of their
own, as chunks and sinks are; all else is reported by name and never passed off as the plain one.
Layers of an encoder and of vision towers run the ragged kernel without a causal mask.
"""

from __future__ import annotations

import re

import attrs

from fibcore.plugin import (
    Extraction,
    KernelCollector,
    ModelTree,
    ModuleNode,
    ParameterRef,
    Serving,
    kv_cache_dtype,
    linear_attention_dtype,
)
from fibcore_op_gqa.kernels import Sizes, kernels_run, make_kernel
from fibcore_op_gqa.layer_settings import (
    UndecidedError,
    Variant,
    backend_without_masks,
    has_latent_twin,
    is_given_a_mask,
    is_latent,
    setting,
    size,
    variants,
    vision_features,
)
from fibcore_op_gqa.model_config import config_value, window_of_config
from fibcore_op_gqa.names import CACHE_DTYPES, Extras

_NO_DEFINITION = (
    "gqa definitions are softmax attention with nothing but a window or chunks, a cap, sinks and "
    "a mask"
)
_BIDIRECTIONAL = (
    "SGLang lets queries of a prompt see later keys where it runs without CUDA graphs and chunked "
    "prefill; " + _NO_DEFINITION
)
_LINEAR = "it keeps a state of each sequence, and no keys; gqa definitions are softmax attention"
_NOT_TOLD = (
    "the backend is told no number of heads: it takes queries and keys as the module that holds it "
    "shapes them"
)
_POSITIONS = "scores depend on positions by a product of their own; " + _NO_DEFINITION
_SINK = "a key of its own joins the softmax behind the kernel; " + _NO_DEFINITION
_RELATIVE = re.compile(r"^(relative_position|rel_pos)")
_VISION_BACKEND = re.compile(r"^Vision\w*Attention$")


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """Kernels, uncovered variants and problems of every attention layer in `tree`.

    Layers that are multi-head latent attention are left alone: those whose values are a latent
    vector, and their materialised twins.
    """
    found = KernelCollector(lenient=("sm_scale",))
    unused = None if _has_windows(tree) else window_of_config(tree)
    for node in tree.walk():
        if node.is_a("RadixAttention"):
            try:
                _layer(node, tree, serving, unused, found)
            except UndecidedError as undecided:
                found.problem(undecided.what, undecided.reason, node)
        elif node.is_a("VisionAttention") or _is_backend_alone(node, tree):
            try:
                _vision(node, serving, found)
            except UndecidedError as undecided:
                found.problem(undecided.what, undecided.reason, node)
        elif _has_relative_positions(node):
            found.not_covered("attention with relative positions", _POSITIONS, node)
        elif _has_a_sink_behind(node, tree):
            found.not_covered("attention sink behind the kernel", _SINK, node)
    return found.finish()


def _has_a_sink_behind(node: ModuleNode, tree: ModelTree) -> bool:
    """Whether a key that is a parameter of its own is given to a function, and not to attention."""
    if not node.calls or not any(n.is_a("RadixAttention") for n in node.children.values()):
        return False
    own = {
        value.path
        for name, value in node.attributes.items()
        if isinstance(value, ParameterRef) and name.startswith("sink")
    }
    given = {
        value.path
        for call in tree.operations
        if call.module == node.path
        for value in (*call.args, *call.kwargs.values())
        if isinstance(value, ParameterRef)
    }
    return bool(own & given)


def _has_relative_positions(node: ModuleNode) -> bool:
    """Whether it is attention of a tower's own, in torch, that adds relative positions."""
    if node.leaf or not node.calls or not node.class_name.endswith("Attention"):
        return False
    parameters = (n for n, v in node.attributes.items() if isinstance(v, ParameterRef))
    return any(_RELATIVE.search(name) for name in (*node.children, *parameters))


def _is_backend(node: ModuleNode) -> bool:
    return node.leaf and _VISION_BACKEND.match(node.class_name) is not None


def _is_backend_alone(node: ModuleNode, tree: ModelTree) -> bool:
    """Whether it is the backend of a vision tower's attention in a module of the model's own."""
    parent = tree.parent(node.path)
    return _is_backend(node) and not (parent is not None and parent.is_a("VisionAttention"))


def _vision(node: ModuleNode, serving: Serving, found: KernelCollector) -> None:
    """The attention of a vision tower: `VisionAttention` and the backend that it holds.

    Or such a backend alone (Gemma 4). Its queries see all keys of an image, or of a window of it: a
    sequence of the ragged kernel.
    """
    found.claim(node)
    for child in node.children.values():
        if _is_backend(child):
            found.claim(child)
    names = ("num_heads", "num_kv_heads", "head_dim")  # of a rank, in a backend
    if not _is_backend(node):
        names = (
            "num_attention_heads_per_partition",
            "num_attention_kv_heads_per_partition",
            "head_size",
        )
    if _is_backend(node) and all(setting(node, name) is None for name in names):
        found.not_covered(f"{node.class_name} of the sizes of its queries", _NOT_TOLD, node)
        return
    sizes = Sizes(*(size(node, name) for name in names))
    features = vision_features(node)
    if features:
        what = f"vision attention h{sizes.qo_heads} d{sizes.head_dim} with {' and '.join(features)}"
        found.not_covered(what, _NO_DEFINITION, node)
        return
    scaling = setting(node, "softmax_scale")
    scaling = sizes.head_dim**-0.5 if scaling is None else scaling
    _check_groups(sizes, serving)
    notes: tuple[str, ...] = ()
    if is_given_a_mask(node):
        notes = (f"{backend_without_masks(node)} does not read the mask that it is given",)
    for kind, page_size, extras in kernels_run(serving, "encoder", Extras(causal=False)):
        kernel = make_kernel(kind, page_size, node, serving, sizes, extras, scaling)
        found.add(attrs.evolve(kernel, notes=notes), node)


def _check_groups(sizes: Sizes, serving: Serving) -> None:
    if sizes.qo_heads % sizes.kv_heads:
        raise UndecidedError(
            "attention heads",
            f"{sizes.qo_heads} query heads of a rank are no multiple of {sizes.kv_heads} KV heads "
            f"(tensor-parallel size {serving.attention_tp})",
        )


def _layer(
    node: ModuleNode,
    tree: ModelTree,
    serving: Serving,
    unused_window: int | None,
    found: KernelCollector,
) -> None:
    if linear_attention_dtype(node.path, tree) is not None:
        found.not_covered("linear attention", _LINEAR, node)
        return
    head_dim = size(node, "head_dim")
    if is_latent(node, tree) or has_latent_twin(node, tree):
        return
    sizes = Sizes(size(node, "num_heads"), size(node, "num_kv_heads"), head_dim)
    _check_groups(sizes, serving)
    for variant in variants(node, tree):
        if variant.uncovered is not None:
            found.not_covered(variant.uncovered, _NO_DEFINITION, node)
            continue
        if variant.prompt == "bidirectional":
            features = ("bidirectional attention over the prompt", *variant.extras.words)
            what = f"gqa prefill with {' and '.join(features)}"
            found.not_covered(what, _BIDIRECTIONAL, node, stage="prefill")
        notes = _notes(variant, unused_window, node, tree)
        scaling = node.argument("scaling")
        for kind, page_size, plain in kernels_run(serving, variant.prompt, variant.extras):
            # The cache alone is quantised: ragged prefill reads the fresh keys and values.
            cache = None if page_size is None else kv_cache_dtype(tree)
            extras = attrs.evolve(plain, cache=cache)
            if cache is not None and cache not in CACHE_DTYPES:
                words = attrs.evolve(variant.extras, cache=cache).words
                found.not_covered(f"gqa_paged with {' and '.join(words)}", _NO_DEFINITION, node)
                continue
            if extras.mask and extras.chunk is not None:
                # Which chunk a token of a tree is in, no backend that masks says.
                what = f"gqa_paged with {' and '.join(extras.words)}"
                found.not_covered(what, _NO_DEFINITION, node)
                continue
            kernel = make_kernel(kind, page_size, node, serving, sizes, extras, scaling)
            found.add(attrs.evolve(kernel, notes=notes), node)


def _notes(
    variant: Variant, unused_window: int | None, node: ModuleNode, tree: ModelTree
) -> tuple[str, ...]:
    """What a reader of the report should know about the layer's kernels."""
    extras = variant.extras
    notes = [] if node.calls else [f"no call of {node.path} was seen: taken as a plain one"]
    if variant.prompt == "cross":
        return (*notes, "cross attention: its keys are those of the encoder's output")
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
