"""Reads the settings of attention layers; what is not known raises `UndecidedError`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from fibcore.plugin import (
    Alternatives,
    Call,
    ModelTree,
    ModuleNode,
    Named,
    ParameterRef,
    Unknown,
)
from fibcore_op_gqa.model_config import chunk_size, config_value
from fibcore_op_gqa.names import PLAIN, Extras

# Keyword arguments of RadixAttention.forward that do not change what the kernel computes.
_PLAIN_KEYWORDS = frozenset(
    {"q", "k", "v", "forward_batch", "save_kv_cache", "key_value_num_tokens", "return_lse"}
)


Prompt = Literal["causal", "bidirectional", "encoder", "cross"]
"""What queries of a prompt see: no later key, later ones where SGLang lets them, all keys, and all
keys of an encoder's output, which stand in the cache."""

_PROMPTS: dict[str, Prompt] = {
    "decoder": "causal",
    "decoder_bidirectional": "bidirectional",
    "encoder_only": "encoder",
}


class UndecidedError(Exception):
    """A setting that decides which kernel runs is not known."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


@attrs.frozen
class Variant:
    """What a layer adds to plain attention.

    Attributes:
        extras: The window, the cap, chunks and sinks, for which there are definitions.
        features: All else; what follows "gqa_paged with", such as "attention sinks".
        name: The whole name where it is no grouped query attention of a decoder at all.
        prompt: What queries of a prompt see; in decode a query sees all keys that there are. An
            encoder has no decode.
    """

    extras: Extras = PLAIN
    features: tuple[str, ...] = ()
    name: str | None = None
    prompt: Prompt = "causal"

    @property
    def uncovered(self) -> str | None:
        """What it is called where no definition computes it."""
        if self.name is not None or not self.features:
            return self.name
        if self.prompt in ("encoder", "cross"):
            words = dict.fromkeys((*self.extras.words, *self.features))
            words.pop("not causal", None)
            kind = "encoder-only" if self.prompt == "encoder" else "cross"
            return f"{kind} attention with {' and '.join(words)}"
        return "gqa_paged with " + " and ".join((*self.extras.words, *self.features))


def setting(node: ModuleNode, name: str, default: Any = None) -> Any:
    """A setting of the layer; what the model assigned to it later wins over the argument."""
    if name in node.attributes:
        return node.attributes[name]
    return node.argument(name, default)


def _known(node: ModuleNode, name: str, default: Any = None) -> Any:
    value = setting(node, name, default)
    if isinstance(value, Unknown):
        raise UndecidedError(f"{name} of an attention layer", str(value))
    if isinstance(value, Alternatives):
        choices = ", ".join(str(v) for v in value.values)
        raise UndecidedError(f"{name} of an attention layer", f"one of {choices}, undecided")
    return value


def _number(node: ModuleNode, name: str, default: float) -> float:
    value = _known(node, name, default)
    if value is None:
        return default
    if isinstance(value, int | float):
        return value
    raise UndecidedError(f"{name} of an attention layer", f"not a number: {value!r}")


def size(node: ModuleNode, name: str) -> int:
    """A setting that is a positive integer.

    Raises:
        UndecidedError: it is not known, or is none.
    """
    value = _known(node, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UndecidedError(f"{name} of an attention layer", f"not an integer: {value!r}")
    if value < 1:
        raise UndecidedError(f"{name} of an attention layer", f"{value}, expected at least 1")
    return value


def value_dim(node: ModuleNode) -> int | None:
    """Size of a value head, where it is not that of a key head; None where it is."""
    if _known(node, "v_head_dim", -1) in (-1, None):
        return None
    width = size(node, "v_head_dim")
    return None if width == size(node, "head_dim") else width


def is_latent(node: ModuleNode, tree: ModelTree) -> bool:
    """Whether it is latent attention, as op_mla tells, whose values are not as wide as its keys.

    One KV head with values narrower than keys may also be a rank's share of plain attention with
    two widths (MiMo-V2), so something has to show that its value is a latent vector: a linear layer
    that takes it, or a layer beside it with as many KV heads as query heads.
    """
    if value_dim(node) is None:
        return False
    parent = tree.parent(node.path)
    beside = tuple(parent.children.values()) if parent is not None else (node,)
    layers = [other for other in beside if other.is_a("RadixAttention")]
    sizes = [
        tuple(setting(layer, name) for name in ("num_heads", "num_kv_heads", "head_dim"))
        for layer in layers
    ]
    if not all(isinstance(number, int) for found in sizes for number in found):
        return True  # op_mla says what is not known
    narrow = [
        layer
        for layer, (_, kv_heads, key) in zip(layers, sizes, strict=True)
        if kv_heads == 1 and (value_dim(layer) or key) < key
    ]
    if not narrow:
        return False
    paired = any(heads == kv_heads > 1 for heads, kv_heads, _ in sizes)
    return paired or any(_takes(other, value_dim(layer)) for layer in narrow for other in beside)


def _takes(node: ModuleNode, width: int | None) -> bool:
    """Whether it is a linear layer that makes keys and values of vectors so wide.

    The output projection, which takes the heads' values, is a `RowParallelLinear`.
    """
    return (
        not node.is_a("RowParallelLinear")
        and node.argument("input_size") == width
        and node.argument("output_size") is not None
    )


def has_latent_twin(node: ModuleNode, tree: ModelTree) -> bool:
    """Whether it is the materialised form beside an absorbed latent attention of one KV head.

    With value heads as wide as key heads (GLM-4.7-Flash: 256 and 256) the twin alone looks plain.
    """
    parent = tree.parent(node.path)
    siblings = parent.children.values() if parent is not None else ()
    return any(
        other is not node
        and other.is_a("RadixAttention")
        and setting(other, "num_kv_heads") == 1
        and isinstance(setting(other, "v_head_dim"), int)
        and 0 < setting(other, "v_head_dim") != setting(other, "head_dim")
        for other in siblings
    )


def variants(node: ModuleNode, tree: ModelTree) -> tuple[Variant, ...]:
    """The distinct ways in which the layer is run: one, or one for each kind of call."""
    prompt = _PROMPTS[_attention_type(node)]
    if _known(node, "is_cross_attention", False):
        if prompt != "causal":
            return (Variant(name=f"cross attention of an {prompt} layer"),)
        prompt = "cross"
    extras, features = _extras(node), list(_features(node, tree))
    chunk = _chunk(node, tree)
    if isinstance(chunk, int) and extras.window is None and prompt == "causal":
        extras = attrs.evolve(extras, chunk=chunk)
    elif chunk is not None:
        features.append(f"chunked local attention {chunk}".rstrip())
    if prompt in ("encoder", "cross"):
        extras = attrs.evolve(extras, causal=False)
        # An encoder's window reaches to both sides, and queries stand nowhere among other keys.
        features += [f"sliding window {extras.window}"] if extras.window is not None else []
    seen: dict[Variant, None] = {}
    calls = [_call_features(call) for call in node.calls] or [_uncalled_features(node, tree)]
    for sink, extra in calls:
        run = attrs.evolve(extras, sink=sink)
        seen[Variant(run, (*features, *extra), prompt=prompt)] = None
    return tuple(seen)


def _attention_type(node: ModuleNode) -> str:
    value = _known(node, "attn_type", "decoder")
    text = value.name if isinstance(value, Named) else value
    # A member of the enumeration AttentionType, by name or by value.
    kind = text.rpartition(".")[2].lower() if isinstance(text, str) else repr(text)
    if kind not in _PROMPTS:
        raise UndecidedError("attn_type of an attention layer", f"not an attention type: {kind}")
    return kind


def _extras(node: ModuleNode) -> Extras:
    """The layer's window, cap and size of a value head."""
    window = _number(node, "sliding_window_size", -1)
    cap = _number(node, "logit_cap", 0.0)
    return Extras(
        value_dim=value_dim(node),
        # SGLang reads 0 and None as "no window", and counts the keys before the query's own;
        # people, configs and names count that one too.
        window=int(window) + 1 if window > 0 else None,
        cap=float(cap) if cap > 0 else None,
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
    if parent is not None and "compress_ratio" in parent.attributes:
        # DeepSeek-V4 hands the layer to its backend, which reads a window of keys and, where the
        # ratio is more than 1, others that are made of several each.
        yield f"keys compressed by {parent.attributes['compress_ratio']}"
    positions = _known(node, "pos_encoding_mode", "NONE")
    if positions not in (None, "NONE"):
        yield f"position encoding {positions} inside"
    length = _number(node, "xai_temperature_len", -1)
    if length > 0:
        yield f"temperature by position beyond {length:g}"


def _chunk(node: ModuleNode, tree: ModelTree) -> int | str | None:
    """Size of the layer's chunks, "" where it is not told; None for a layer without chunks."""
    return chunk_size(tree) if _known(node, "use_irope", False) else None


def _call_features(call: Call) -> tuple[bool, tuple[str, ...]]:
    """Whether a call hands on sinks, and what its other arguments add to plain attention."""
    sink, features = False, []
    for name, value in call.kwargs.items():
        if name in _PLAIN_KEYWORDS or value is None:
            continue
        if name == "sinks":
            if not isinstance(value, ParameterRef):
                raise UndecidedError("sinks of an attention layer", f"none or a parameter: {value}")
            sink = True
        else:
            features.append(f"the call's argument {name}")
    return sink, tuple(features)


def _uncalled_features(node: ModuleNode, tree: ModelTree) -> tuple[bool, tuple[str, ...]]:
    """Whether unseen calls hand on sinks: what they hand on is held by the module above."""
    parent = tree.parent(node.path)
    held = [
        value
        for name, value in (parent.attributes.items() if parent is not None else ())
        if "sink" in name.lower() and isinstance(value, ParameterRef | Unknown | Alternatives)
    ]
    # What a module keeps beside its parameter, for one rank or padded, is made of that.
    sink = any(isinstance(value, ParameterRef) for value in held)
    if held and not sink:
        raise UndecidedError("sinks of an attention layer", f"none or a parameter: {held[0]}")
    return sink, ()


# Backends of vision towers whose `forward` takes a mask among arguments that it does not read
# (`srt/layers/attention/vision.py` of 0.5.9 and 0.5.23).
_WITHOUT_MASKS = (
    "VisionFlash3Attention",
    "VisionFlash4Attention",
    "VisionFlashInferAttention",
    "VisionTritonAttention",
)


def vision_features(node: ModuleNode) -> tuple[str, ...]:
    """What the attention of a vision tower adds to that of images without a mask of their own."""
    features = ["attention sinks"] if _known(node, "use_sink", False) else []
    window = _known(node, "window_size", (-1, -1))
    if window not in (None, (-1, -1), [-1, -1]):
        features.append("a window")
    if is_given_a_mask(node) and backend_without_masks(node) is None:
        features.append("the call's argument attention_mask")
    return tuple(features)


def is_given_a_mask(node: ModuleNode) -> bool:
    """Whether a call of a vision tower's attention may hand on a mask."""
    return any(call.kwargs.get("attention_mask") is not None for call in node.calls)


def backend_without_masks(node: ModuleNode) -> str | None:
    """The backend of a vision tower's attention, where it does not read a mask that it is given.

    None where it is another one, or not known.
    """
    classes = [child.class_name for child in (node, *node.children.values())]
    return next((name for name in classes if name in _WITHOUT_MASKS), None)
