"""Finds grouped query attention in a model tree.

Every attention layer of SGLang that reads the KV cache is a `RadixAttention`
(`srt/layers/radix_attention.py`; its arguments are the same in 0.5.9 and 0.5.23 but for one that
does not change what is computed). Its head counts are those of one tensor-parallel rank, KV heads
already replicated where there are fewer than ranks. What its arguments and calls add to plain
causal attention makes it another kernel: a window and a cap are variants with definitions of their
own; sinks and all else are reported by name and never passed off as the plain one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fibcore.plugin import (
    Alternatives,
    Call,
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Named,
    ParameterRef,
    Scalar,
    Serving,
    Unknown,
    fact,
    with_origins,
)
from fibcore_op_gqa.model_config import cache_dtype, chunk_size, config_value, window_of_config
from fibcore_op_gqa.names import (
    FLASHINFER,
    OP_TYPE_OF,
    PAGE_SIZE,
    PLAIN,
    STAGES,
    Extras,
    Kind,
    kernel_name,
)

# Keyword arguments of RadixAttention.forward that do not change what the kernel computes.
_PLAIN_KEYWORDS = frozenset(
    {"q", "k", "v", "forward_batch", "save_kv_cache", "key_value_num_tokens", "return_lse"}
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


class _Undecided(Exception):
    """A setting that decides which kernel runs is not known."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


@attrs.frozen
class _Variant:
    """What a layer adds to plain attention.

    Attributes:
        extras: The window and the cap, for which there are definitions.
        features: All else; what follows "gqa_paged with", such as "attention sinks".
        name: The whole name where it is no grouped query attention of a decoder at all.
        causal: False where prefill sees later keys too; decode is the same either way.
    """

    extras: Extras = PLAIN
    features: tuple[str, ...] = ()
    name: str | None = None
    causal: bool = True

    @property
    def uncovered(self) -> str | None:
        """What it is called where no definition computes it."""
        if self.name is not None or not self.features:
            return self.name
        return "gqa_paged with " + " and ".join((*self.extras.words, *self.features))


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
            except _Undecided as undecided:
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
    head_dim = _size(node, "head_dim")
    if _is_latent(node) or _has_latent_twin(node, tree):
        return
    qo_heads = _size(node, "num_heads")
    kv_heads = _size(node, "num_kv_heads")
    if qo_heads % kv_heads:
        raise _Undecided(
            "attention heads",
            f"{qo_heads} query heads of a rank are no multiple of {kv_heads} KV heads "
            f"(tensor-parallel size {serving.tp})",
        )
    for variant in _variants(node, tree):
        if variant.uncovered is not None:
            found.not_covered(variant.uncovered, _NO_DEFINITION, node)
            continue
        if not variant.causal:
            features = ("bidirectional attention over the prompt", *variant.extras.words)
            found.not_covered(f"gqa prefill with {' and '.join(features)}", _BIDIRECTIONAL, node)
        notes = _notes(variant.extras, unused_window, node, tree)
        sizes = _Sizes(qo_heads, kv_heads, head_dim)
        # The cache alone is quantised: ragged prefill reads the fresh keys and values.
        cache = cache_dtype(tree)
        for kind, page_size in _kernels(serving, variant.causal):
            if cache is None or page_size is None:
                kernel = _kernel(kind, page_size, node, serving, sizes, variant.extras)
                found.add(attrs.evolve(kernel, notes=notes), node)
        if cache is not None and serving.stages:
            features = (*variant.extras.words, f"{cache} KV cache")
            found.not_covered(f"gqa_paged with {' and '.join(features)}", _NO_DEFINITION, node)


@attrs.frozen
class _Sizes:
    """Query heads and KV heads of a rank, and the size of a head."""

    qo_heads: int
    kv_heads: int
    head_dim: int


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
    return any(_setting(node, "sliding_window_size") not in (None, -1, 0) for node in layers)


def _kernels(serving: Serving, causal: bool) -> Iterator[tuple[Kind, int | None]]:
    """Kind and page size of each kernel that a plain layer runs."""
    if "decode" in serving.stages:
        for page_size in serving.value(PAGE_SIZE):
            yield "decode", page_size
    if "prefill" in serving.stages and causal:
        for page_size in serving.value(PAGE_SIZE):
            yield "prefill", page_size
        yield "ragged", None


def _kernel(
    kind: Kind,
    page_size: int | None,
    node: ModuleNode,
    serving: Serving,
    sizes: _Sizes,
    extras: Extras,
) -> Kernel:
    qo_heads, kv_heads, head_dim = sizes.qo_heads, sizes.kv_heads, sizes.head_dim
    rank = f"one of {serving.tp} tensor-parallel ranks"
    facts: dict[str, Fact] = {
        "num_qo_heads": fact(qo_heads, node, f"query heads of {rank}"),
        "num_kv_heads": fact(
            kv_heads, node, f"KV heads of {rank}; fewer heads than ranks are replicated"
        ),
        "head_dim": fact(head_dim, node, "size of a query, key and value head"),
    }
    parameters: dict[str, Scalar] = {
        "kind": kind,
        "num_qo_heads": int(qo_heads),
        "num_kv_heads": int(kv_heads),
        "head_dim": int(head_dim),
    }
    if page_size is not None:
        parameters["page_size"] = int(page_size)
        asked = with_origins(page_size, frozenset({PAGE_SIZE.origin}))
        facts["page_size"] = fact(asked, node, "tokens in a page of the KV cache")
    if extras.window is not None:
        parameters["sliding_window"] = int(extras.window)
        before = _setting(node, "sliding_window_size")
        note = "keys that a query sees: sliding_window_size, and its own"
        facts["sliding_window"] = fact(int(extras.window), node, note, before)
    if extras.cap is not None:
        parameters["logit_cap"] = float(extras.cap)
        note = "c of c * tanh(logit / c)"
        facts["logit_cap"] = fact(float(extras.cap), node, note, _setting(node, "logit_cap"))
    scaling = node.argument("scaling")
    # An input of the kernel, so nothing hangs on it if it is unknown.
    if isinstance(scaling, int | float) and not isinstance(scaling, bool):
        parameters["sm_scale"] = float(scaling)
        note = "usual value of the input sm_scale"
        if math.isclose(scaling, head_dim**-0.5):
            note += ", 1 / sqrt(head_dim)"
        facts["sm_scale"] = fact(scaling, node, note)
    return Kernel(
        op_type=OP_TYPE_OF[kind],
        name=kernel_name(kind, qo_heads, kv_heads, head_dim, page_size, extras),
        parameters=parameters,
        facts=facts,
        uses=(),
        tags=(f"stage:{STAGES[kind]}", f"tp:{serving.tp}", f"fi_api:{FLASHINFER[kind]}"),
    )


def _setting(node: ModuleNode, name: str, default: Any = None) -> Any:
    """A setting of the layer; what the model assigned to it later wins over the argument."""
    if name in node.attributes:
        return node.attributes[name]
    return node.argument(name, default)


def _known(node: ModuleNode, name: str, default: Any = None) -> Any:
    value = _setting(node, name, default)
    if isinstance(value, Unknown):
        raise _Undecided(f"{name} of an attention layer", str(value))
    if isinstance(value, Alternatives):
        choices = ", ".join(str(v) for v in value.values)
        raise _Undecided(f"{name} of an attention layer", f"one of {choices}, undecided")
    return value


def _number(node: ModuleNode, name: str, default: float) -> float:
    value = _known(node, name, default)
    if value is None:
        return default
    if isinstance(value, int | float):
        return value
    raise _Undecided(f"{name} of an attention layer", f"not a number: {value!r}")


def _size(node: ModuleNode, name: str) -> int:
    value = _known(node, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Undecided(f"{name} of an attention layer", f"not an integer: {value!r}")
    if value < 1:
        raise _Undecided(f"{name} of an attention layer", f"{value}, expected at least 1")
    return value


def _is_latent(node: ModuleNode) -> bool:
    """Whether keys and values differ in width, as in multi-head latent attention."""
    width = _known(node, "v_head_dim", -1)
    return width not in (-1, None) and width != _size(node, "head_dim")


def _has_latent_twin(node: ModuleNode, tree: ModelTree) -> bool:
    """Whether it is the materialised form beside an absorbed latent attention of one KV head.

    With value heads as wide as key heads (GLM-4.7-Flash: 256 and 256) the twin alone looks plain.
    """
    parent = tree.parent(node.path)
    siblings = parent.children.values() if parent is not None else ()
    return any(
        other is not node
        and other.is_a("RadixAttention")
        and _setting(other, "num_kv_heads") == 1
        and isinstance(_setting(other, "v_head_dim"), int)
        and 0 < _setting(other, "v_head_dim") != _setting(other, "head_dim")
        for other in siblings
    )


def _variants(node: ModuleNode, tree: ModelTree) -> tuple[_Variant, ...]:
    """The distinct ways in which the layer is run: one, or one for each kind of call."""
    if _known(node, "is_cross_attention", False):
        return (_Variant(name="cross attention"),)
    kind = _attention_type(node)
    if kind == "encoder_only":
        return (_Variant(name="encoder-only attention"),)
    extras, features = _extras(node), list(_features(node, tree))
    seen: dict[_Variant, None] = {}
    calls = [_call_features(call) for call in node.calls] or [_uncalled_features(node, tree)]
    for extra in calls:
        seen[_Variant(extras, (*features, *extra), causal=kind == "decoder")] = None
    return tuple(seen)


def _attention_type(node: ModuleNode) -> str:
    value = _known(node, "attn_type", "decoder")
    text = value.name if isinstance(value, Named) else value
    # A member of the enumeration AttentionType, by name or by value.
    kind = text.rpartition(".")[2].lower() if isinstance(text, str) else repr(text)
    if kind not in ("decoder", "decoder_bidirectional", "encoder_only"):
        raise _Undecided("attn_type of an attention layer", f"not an attention type: {kind}")
    return kind


def _extras(node: ModuleNode) -> Extras:
    """The layer's window and cap."""
    window = _number(node, "sliding_window_size", -1)
    cap = _number(node, "logit_cap", 0.0)
    return Extras(
        # SGLang reads 0 and None as "no window", and counts the keys before the query's own;
        # people, configs and names count that one too.
        int(window) + 1 if window > 0 else None,
        float(cap) if cap > 0 else None,
    )


def _features(node: ModuleNode, tree: ModelTree) -> Iterator[str]:
    """What the layer's other settings, and what stands beside it, add to plain attention."""
    method = _known(node, "logit_capping_method", "tanh")
    if method != "tanh" and _number(node, "logit_cap", 0.0) > 0:
        yield f"capping by {method}"
    dual = config_value(tree, "dual_chunk_attention_config")
    if isinstance(dual, Mapping):
        yield f"dual chunk attention {dual.get('chunk_size', '')}".rstrip()
    parent = tree.parent(node.path)
    if parent is not None and parent.attributes.get("alibi_slopes") is not None:
        yield "ALiBi biases"
    if _known(node, "use_irope", False):
        size = chunk_size(tree)
        if size is not None:
            yield f"chunked local attention {size}".rstrip()
    positions = _known(node, "pos_encoding_mode", "NONE")
    if positions not in (None, "NONE"):
        yield f"position encoding {positions} inside"
    length = _number(node, "xai_temperature_len", -1)
    if length > 0:
        yield f"temperature by position beyond {length:g}"


def _call_features(call: Call) -> tuple[str, ...]:
    """What a call's keyword arguments add to plain attention."""
    features = []
    for name, value in call.kwargs.items():
        if name in _PLAIN_KEYWORDS or value is None:
            continue
        if name == "sinks":
            if not isinstance(value, ParameterRef):
                raise _Undecided("sinks of an attention layer", f"none or a parameter: {value}")
            features.append("attention sinks")
        else:
            features.append(f"the call's argument {name}")
    return tuple(features)


def _uncalled_features(node: ModuleNode, tree: ModelTree) -> tuple[str, ...]:
    """What unseen calls would add: what they hand on is held by the module above."""
    parent = tree.parent(node.path)
    for name, value in parent.attributes.items() if parent is not None else ():
        if "sink" in name.lower() and isinstance(value, ParameterRef | Unknown | Alternatives):
            if not isinstance(value, ParameterRef):
                raise _Undecided("sinks of an attention layer", f"none or a parameter: {value}")
            return ("attention sinks",)
    return ()
