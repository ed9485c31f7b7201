"""Reads the settings of attention layers; what is not known raises `UndecidedError`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import attrs

from fibcore.plugin import Alternatives, ModuleNode, Named, ParameterRef, Unknown

# Names under which a model hands attention sinks to RadixAttention.forward.
_SINKS = ("sinks", "attn_sink")

# What a module of latent attention calls its switch to sparse attention, in SGLang 0.5.9 and
# 0.5.23. A layer may be sparse without an indexer of its own, by an earlier layer's choice of keys.
_SPARSE_SWITCHES = ("use_nsa", "use_dsa")

# The module that chooses the keys of sparse attention: `Indexer` in layers/attention/nsa (0.5.9)
# and layers/attention/dsa (0.5.23), where `IndexerKPool` stands beside it.
_INDEXERS = ("Indexer", "IndexerKPool")


class UndecidedError(Exception):
    """A setting that decides which kernel runs is not known.

    Args:
        what: The setting.
        reason: Why it is not known.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


@attrs.frozen
class Shape:
    """Sizes of an attention layer.

    Attributes:
        heads: Query heads of a rank.
        kv_heads: KV heads of a rank.
        key: Elements of a key head.
        value: Elements of a value head.
    """

    heads: int
    kv_heads: int
    key: int
    value: int


def setting(node: ModuleNode, name: str, default: Any = None) -> Any:
    """A setting of the layer; what the model assigned to it later wins over the argument."""
    if name in node.attributes:
        return node.attributes[name]
    return node.argument(name, default)


def known(value: Any, what: str) -> Any:
    """`value`, unless it is one that elaboration could not decide."""
    if isinstance(value, Unknown):
        raise UndecidedError(what, str(value))
    if isinstance(value, Alternatives):
        choices = ", ".join(str(v) for v in value.values)
        raise UndecidedError(what, f"one of {choices}, undecided")
    return value


def has_one_width(node: ModuleNode) -> bool:
    """Whether the layer names no width of its values, which then is that of its keys."""
    return setting(node, "v_head_dim", -1) in (-1, None)


def read_shape(node: ModuleNode) -> Shape:
    """The sizes of a RadixAttention layer.

    Raises:
        UndecidedError: a size is not known, or is no positive integer.
    """
    key = _size(node, "head_dim")
    value = key if has_one_width(node) else _size(node, "v_head_dim")
    return Shape(_size(node, "num_heads"), _size(node, "num_kv_heads"), key, value)


def read_scale(node: ModuleNode) -> float:
    """The factor of the logits, `scaling`, with its origins.

    Raises:
        UndecidedError: it is not known, or is no positive number.
    """
    value = known(setting(node, "scaling"), "scaling of an attention layer")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UndecidedError("scaling of an attention layer", f"not a number: {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise UndecidedError("scaling of an attention layer", f"{value}, expected more than 0")
    return value


def features(node: ModuleNode, parent: ModuleNode) -> Iterator[str]:
    """What a layer adds to plain causal attention, as phrases like "with sliding window 512".

    Raises:
        UndecidedError: a setting that decides it is not known.
    """
    if _setting(node, "is_cross_attention", False):
        yield "as cross attention"
    kind = _attention_type(node)
    if kind != "decoder":
        yield f"of type {kind}"
    window = _number(node, "sliding_window_size", -1)
    if window > 0:  # SGLang reads 0 and None as "no window"
        # SGLang counts the keys before the query's own; people and configs count that one too.
        yield f"with sliding window {window + 1:g}"
    cap = _number(node, "logit_cap", 0)
    if cap > 0:
        method = _setting(node, "logit_capping_method", "tanh")
        yield f"with logit cap {cap:g}" + ("" if method == "tanh" else f" ({method})")
    if _setting(node, "use_irope", False):
        yield "with chunked local attention"
    positions = _setting(node, "pos_encoding_mode", "NONE")
    if positions not in (None, "NONE"):
        yield f"with position encoding {positions} inside"
    temperature = _number(node, "xai_temperature_len", -1)
    if temperature > 0:
        yield f"with temperature by position beyond {temperature:g}"
    if _has_sinks(node, parent):
        yield "with attention sinks"


def is_sparse(parent: ModuleNode) -> bool:
    """Whether a module of latent attention reads only the keys that an indexer chooses.

    Raises:
        UndecidedError: its switch is not known.
    """
    if any(child.is_a(*_INDEXERS) for child in parent.children.values()):
        return True
    for name in _SPARSE_SWITCHES:
        if known(parent.attributes.get(name), f"{name} of an attention module") is True:
            return True
    return False


def _setting(node: ModuleNode, name: str, default: Any = None) -> Any:
    return known(setting(node, name, default), f"{name} of an attention layer")


def _number(node: ModuleNode, name: str, default: float) -> float:
    value = _setting(node, name, default)
    if value is None:
        return default
    if isinstance(value, int | float):
        return value
    raise UndecidedError(f"{name} of an attention layer", f"not a number: {value!r}")


def _size(node: ModuleNode, name: str) -> int:
    value = _setting(node, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UndecidedError(f"{name} of an attention layer", f"no positive integer: {value!r}")
    return value


def _attention_type(node: ModuleNode) -> str:
    value = _setting(node, "attn_type", "decoder")
    text = value.name if isinstance(value, Named) else value
    # A member of the enumeration AttentionType, by name or by value.
    return text.rpartition(".")[2].lower() if isinstance(text, str) else repr(text)


def _has_sinks(node: ModuleNode, parent: ModuleNode) -> bool:
    """Whether logits of attention sinks are handed to the layer, or kept beside it for it."""
    for call in node.calls:
        for name in _SINKS:
            sinks = call.kwargs.get(name)
            if isinstance(sinks, Unknown) and sinks.is_tensor:
                return True
            if known(sinks, "sinks of an attention layer") is not None:
                return True
    return any(
        "sink" in name and isinstance(value, ParameterRef)
        for name, value in parent.attributes.items()
    )
